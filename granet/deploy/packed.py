"""A sparse network in little space: bit masks and the active weights, exactly."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from granet import masks as masks_
from granet.common.files import atomic
from granet.deploy.shrink import check_masks
from granet.types import Masks, Tensors, UserError

SHAPES, MASK, ACTIVE = "shapes", "mask:", "active:"
"""Names in a packed file: of its header's entry, and before the name of a masked weight."""


def save_packed(path: Path, weights: Mapping[str, Tensor], masks: Masks) -> int:
    """Write a state_dict with its masks in little space, atomically; return the file's size in bytes.

    A masked weight becomes its mask, eight positions to a byte, and its active values; all else stays as it is.
    Nothing is rounded: `load_packed` gives back every bit, but for the sign of inactive zeros (-0.0 comes back as
    0.0). Raises UserError for masks of another network.
    """
    check_masks(dict(weights), masks)
    packed = {MASK + name: bits for name, bits in masks_.pack(masks).items()}
    for name, value in weights.items():
        value = value.detach().cpu()
        if name in masks:
            packed[ACTIVE + name] = value[masks[name].cpu()]
        else:
            packed[name] = value.contiguous()
    shapes = {name: list(mask.shape) for name, mask in masks.items()}
    content = save(packed, {SHAPES: json.dumps(shapes)})
    atomic(path, content)
    return len(content)


def load_packed(path: Path) -> tuple[Tensors, Masks]:
    """Weights and masks from what `save_packed` wrote, on the CPU. Raises UserError for any other file."""
    try:
        with safe_open(path, framework="pt") as file:
            shapes = json.loads((file.metadata() or {})[SHAPES])
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
    except (SafetensorError, KeyError):
        raise UserError(f"{path} is no packed file; save_packed writes them") from None
    masks = masks_.unpack({name: stored.pop(MASK + name) for name in shapes}, shapes)
    weights = {}
    for name, mask in masks.items():
        active = stored.pop(ACTIVE + name)
        weights[name] = torch.zeros(mask.shape, dtype=active.dtype)
        weights[name][mask] = active
    return stored | weights, masks
