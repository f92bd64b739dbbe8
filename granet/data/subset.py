"""Class-balanced choices of images, as a function of a seed."""

import numpy as np

from granet.common.seeds import stable_seed


def balanced(labels: np.ndarray, size: int, *seed: object) -> np.ndarray:
    """Sorted int64 indices of ``size`` of the ``labels`` (N), the classes as equal as they can be.

    Class counts differ by at most 1; only a class that has too few images falls behind, by giving all it has. The
    classes take turns: each shuffles its images, then hands out its first, its second, and so on. So with the same
    seed a smaller choice lies inside a larger one. Raises ValueError for a size that is not in 0..N.

    >>> balanced(np.array([0, 0, 0, 0, 1, 2]), 4, "seed").tolist()
    [0, 2, 4, 5]
    """
    if not 0 <= size <= len(labels):
        raise ValueError(f"cannot choose {size} of {len(labels)}")
    rng = np.random.default_rng(stable_seed("subset", *seed))
    classes, class_of = np.unique(labels, return_inverse=True)
    seat = rng.permutation(len(classes))[class_of]  # which class goes first is drawn too
    shuffled = rng.permutation(len(labels))
    by_seat = shuffled[np.argsort(seat[shuffled], kind="stable")]
    seats = seat[by_seat]
    round_ = np.arange(len(labels)) - np.searchsorted(seats, seats)  # each class counts its images from 0
    turns = by_seat[np.lexsort((seats, round_))]
    return np.sort(turns[:size])


def hold_out(
    labels: np.ndarray, train_size: int | None, val_size: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Disjoint (train, val) indices; val is drawn first, so it does not depend on ``train_size`` (None = the rest)."""
    val = balanced(labels, val_size, "val", seed)
    rest = np.setdiff1d(np.arange(len(labels)), val)
    train = rest if train_size is None else rest[balanced(labels[rest], train_size, "train", seed)]
    return train, val
