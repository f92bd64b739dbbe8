"""Masks: one bool tensor per maskable weight, True where the weight is active."""

import math
from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor

from granet.common.seeds import stable_seed
from granet.types import Counts, Masks, Shapes, Tensors, UserError


def random_masks(shapes: Shapes, num_active: Counts, seed: int) -> Masks:
    """Draw exactly ``num_active[name]`` active positions in every tensor, uniformly at random.

    A mask depends on (seed, layer name) only: never on the rank, the device, or the order of the layers.
    """
    masks = {}
    for name, shape in shapes.items():
        generator = torch.Generator("cpu").manual_seed(stable_seed("mask", seed, name))
        active = torch.randperm(prod(shape), generator=generator, device="cpu")[: num_active[name]]
        mask = torch.zeros(prod(shape), dtype=torch.bool, device="cpu")
        mask[active] = True
        masks[name] = mask.view(shape)
    return masks


def random_inactive(mask: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """``k`` different inactive places of a mask on the CPU, uniformly at random, as indices of the flattened mask.

    Raises ValueError where there are fewer.
    """
    room = mask.numel() - int(np.count_nonzero(mask.numpy()))
    if k > room:
        raise ValueError(f"k={k} places, and {room} are inactive")
    if 4 * k > room:
        places = (~mask).flatten().nonzero().flatten()
        return places[torch.randperm(room, generator=generator, device="cpu")[:k]]
    drawn = torch.empty(0, dtype=torch.long, device="cpu")
    places = drawn
    while len(places) < k:  # seldom twice
        more = math.ceil(1.3 * k * mask.numel() / room) + 16
        drawn = torch.cat([drawn, torch.randint(mask.numel(), (more,), generator=generator, device="cpu")])
        free = drawn[~mask[torch.unravel_index(drawn, mask.shape)]].numpy()
        places = free[np.sort(np.unique(free, return_index=True)[1])]
    return torch.as_tensor(places[:k], device="cpu")


def check(masks: Masks, weights: Tensors) -> None:
    """Raise UserError unless there is a mask for every weight, of its shape, and no other."""
    if odd := sorted(masks.keys() ^ weights.keys()):
        lacking = [name for name in odd if name in weights]
        of = f"none for {lacking[0]}" if lacking else f"one for {odd[0]}, which is no maskable weight"
        raise UserError(f"masks: there is {of}; the names are {', '.join(list(weights)[:3])}, ...")
    for name, weight in weights.items():
        if masks[name].shape != weight.shape:
            shapes = f"{tuple(masks[name].shape)}, and its weight is {tuple(weight.shape)}"
            raise UserError(
                f"masks: that of {name} has the shape {shapes}; a mask has the shape of its weight"
            )


def shapes(masks: Masks) -> Shapes:
    """The shape of every tensor.

    >>> shapes({"a": torch.ones(2, 3)})
    {'a': (2, 3)}
    """
    return {name: tuple(mask.shape) for name, mask in masks.items()}


def num_active(masks: Masks) -> Counts:
    """Active weights per tensor. Asks the device, once: call it at updates, not at every step."""
    if all(mask.device.type == "cpu" for mask in masks.values()):  # NumPy counts five times as fast
        return {name: int(np.count_nonzero(mask.numpy())) for name, mask in masks.items()}
    return dict(zip(masks, on_host([mask.count_nonzero() for mask in masks.values()]), strict=True))


def on_host(numbers: Sequence[Tensor]) -> list:
    """The values of 0-dim tensors of one type, by one question to the device (the first one's, of several)."""
    return torch.stack([number.to(numbers[0].device) for number in numbers]).tolist() if numbers else []


def layer_sparsity(counts: Counts, shapes: Shapes) -> dict[str, float]:
    """Share of each tensor's weights that is inactive, in [0, 1].

    >>> layer_sparsity({"a": 1}, {"a": (2, 2)})
    {'a': 0.75}
    """
    return {name: 1 - counts[name] / prod(shape) for name, shape in shapes.items()}


def empty_layers(layer_sparsity: dict[str, float]) -> list[str]:
    """The tensors that have no active weight: nothing passes there.

    >>> empty_layers({"a": 0.75, "b": 1.0})
    ['b']
    """
    return [name for name, share in layer_sparsity.items() if share == 1]


def sparsity(counts: Counts, shapes: Shapes) -> float:
    """Share of all maskable weights that is inactive, in [0, 1]; 0 where nothing is masked.

    >>> sparsity({"a": 1, "b": 4}, {"a": (2, 2), "b": (4,)})
    0.375
    """
    total = sum(prod(shape) for shape in shapes.values())
    return 1 - sum(counts.values()) / total if counts else 0.0


def apply_(tensors: Tensors, masks: Masks) -> None:
    """Zero every tensor where its mask is inactive, in place."""
    names = list(tensors)
    if names:
        values, factors = [tensors[name] for name in names], [masks[name] for name in names]
        torch._foreach_mul_(values, factors)  # pyright: ignore[reportPrivateImportUsage]


def pack(masks: Masks) -> dict[str, Tensor]:
    """Eight mask positions to a byte, for checkpoints; numbers other than 0 are active. The inverse is `unpack`."""
    return {name: torch.from_numpy(np.packbits(mask.bool().cpu().numpy())) for name, mask in masks.items()}


def unpack(packed: dict[str, Tensor], shapes: Shapes) -> Masks:
    """Masks of the given shapes from what `pack` returned."""
    return {
        name: torch.from_numpy(
            np.unpackbits(packed[name].cpu().numpy(), count=prod(shape)).astype(bool)
        ).view(shape)
        for name, shape in shapes.items()
    }
