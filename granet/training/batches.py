"""How many images a forward of training gets, and whether BatchNorm can work with them."""

from functools import partial

import torch
from torch import Tensor, nn

from granet.common.distributed import World
from granet.inits.saliency import undisturbed
from granet.training.config import TrainConfig
from granet.types import UserError

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def forward_sizes(num_images: int, batch_size: int, micro_batch: int | None, num_processes: int) -> set[int]:
    """Numbers of images that a forward of training gets in an epoch of ``num_images``.

    >>> sorted(forward_sizes(9, 4, None, 1)), sorted(forward_sizes(9, 4, None, 2)), sorted(forward_sizes(8, 4, 3, 1))
    ([1, 4], [1, 2], [1, 3])
    """
    sizes: set[int] = set()
    for batch in {min(batch_size, num_images), num_images % batch_size or batch_size}:
        for rank in range(num_processes):
            seen = World(rank, num_processes).seen(batch)
            share = seen.stop - seen.start
            part = min(micro_batch or share, share)
            sizes |= {part, share % part or part}
    return sizes


def check_sizes(
    model: nn.Module, image_shape: tuple[int, ...], num_images: int, config: TrainConfig, num_processes: int
) -> None:
    """Raises UserError where a forward of one image leaves a BatchNorm a single value per channel: it has no variance.

    ``image_shape`` is (C, H, W). Where every forward has more images, nothing is run.
    """

    def sizes(batch_size: int) -> set[int]:
        return forward_sizes(num_images, batch_size, config.micro_batch, num_processes)

    synced = config.sync_bn and num_processes > 1  # it counts the values of all processes
    if synced or 1 not in sizes(config.batch_size) or (layer := _narrowest(model, image_shape)) is None:
        return
    better = next((n for n in range(config.batch_size + 1, num_images + 1) if 1 not in sizes(n)), None)
    fixes = [f"train.batch_size={better}"] * bool(better) + ["train.micro_batch=null"] * bool(
        config.micro_batch
    )
    fix = ", ".join([*fixes, "another data.train_size"])
    raise UserError(
        f"train.batch_size={config.batch_size}: with {num_images} training images a forward gets one image alone, and "
        f"BatchNorm {layer} one value per channel, where it needs two; set one of: {fix}"
    )


def _narrowest(model: nn.Module, image_shape: tuple[int, ...]) -> str | None:
    """The first BatchNorm that sees one value per channel of one image, found by a forward of a zero image."""
    found: list[str] = []
    norms = {name: module for name, module in model.named_modules() if isinstance(module, NORMS)}
    handles = [norm.register_forward_pre_hook(partial(_note, found, name)) for name, norm in norms.items()]
    like = next(model.parameters(), torch.empty(0))
    try:
        with torch.no_grad(), undisturbed(model, training=False):
            model(torch.zeros(1, *image_shape, device=like.device, dtype=like.dtype))
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else None


def _note(found: list[str], name: str, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    if inputs[0][0, 0].numel() == 1:
        found.append(name)
