"""In which order an epoch shows the images, and which of them a process takes."""

from collections.abc import Iterator

import numpy as np

from granet.common.distributed import World
from granet.common.seeds import stable_seed


def order_seed(seed: int) -> int:
    """The seed of the order's generator. Epoch e uses this plus e, so neighbouring seeds must not give neighbours."""
    return stable_seed("order", seed)


def shares(num_images: int, batch_size: int, world: World, *, training: bool) -> Iterator[slice]:
    """What ``world`` takes of each batch, as places in the epoch's order.

    Where it has no image of a batch, it gets one all the same for ``training``; else the batch is left out.

    >>> list(shares(5, 2, World(1, 2), training=False))
    [slice(1, 2, None), slice(3, 4, None)]
    >>> list(shares(5, 2, World(1, 2), training=True))
    [slice(1, 2, None), slice(3, 4, None), slice(4, 5, None)]
    """
    for start in range(0, num_images, batch_size):
        size = min(batch_size, num_images - start)
        share = world.seen(size) if training else world.share(size)
        if share.start < share.stop:
            yield slice(start + share.start, start + share.stop)


def epoch_order(seed: int, epoch: int, num_images: int) -> np.ndarray:
    """The shuffled image numbers of an epoch, as FFCV's RANDOM order has them.

    >>> epoch_order(0, 0, 5).tolist()
    [4, 2, 0, 3, 1]
    """
    return np.random.default_rng(order_seed(seed) + epoch).permutation(num_images)
