"""A sparse network in little space: bit masks and the active weights, exactly."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from granet.common.files import atomic, one_line
from granet.deploy.shrink import check_masks
from granet.inits.stored import SHAPES, header, packed, read, unpacked
from granet.types import Masks, Tensors, UserError

ACTIVE, TIED = "active:", "tied"
"""Names in a packed file: before the name of a masked weight, and of its header's entry with second names."""


def save_packed(path: Path, weights: Mapping[str, Tensor], masks: Masks) -> int:
    """Write a state_dict with its masks in little space, atomically; return the file's size in bytes.

    A masked weight becomes its mask, eight positions to a byte, and its active values; a tensor that has a second name
    (tied weights) is stored once; all else stays as it is. Nothing is rounded: `load_packed` gives back every bit, but
    for the sign of inactive zeros (-0.0 comes back as 0.0). Raises UserError for masks of another network.
    """
    check_masks(dict(weights), masks)
    tied = _second_names(weights, masks)
    stored = packed(masks)
    for name, value in weights.items():
        value = value.detach().cpu()
        if name in masks:
            stored[ACTIVE + name] = value[masks[name].cpu()]
        elif name not in tied:
            stored[name] = value.clone(memory_format=torch.contiguous_format)
    content = save(stored, header(masks) | ({TIED: json.dumps(tied)} if tied else {}))
    atomic(path, content)
    return len(content)


def _second_names(weights: Mapping[str, Tensor], masks: Masks) -> dict[str, str]:
    """Name -> the name that the same tensor is stored under, which is the masked one of them."""
    first: dict[tuple, str] = {}
    for name in sorted(weights, key=lambda name: name not in masks):
        value = weights[name]
        if value.numel():
            first.setdefault((value.data_ptr(), value.shape, value.stride(), value.dtype), name)
    keys = {
        name: (value.data_ptr(), value.shape, value.stride(), value.dtype) for name, value in weights.items()
    }
    return {
        name: first[key]
        for name, key in keys.items()
        if name not in masks and key in first and first[key] != name
    }


def load_packed(path: Path) -> tuple[Tensors, Masks]:
    """Weights and masks from what `save_packed` wrote, on the CPU. Raises UserError for any other file."""
    stored, metadata = read(path)
    if SHAPES not in metadata:
        raise UserError(f"{one_line(path)} is no packed file; save_packed writes them")
    masks = unpacked(path, stored, metadata)
    weights: Tensors = {}
    for name, mask in masks.items():
        active, num_active = stored.pop(ACTIVE + name, torch.empty(0)), int(mask.sum())
        if active.shape != (num_active,):
            raise UserError(
                f"{one_line(path)} has {active.numel()} values for {num_active} active places of {name}: it is not "
                "whole; write it again"
            )
        weights[name] = torch.zeros(mask.shape, dtype=active.dtype)
        weights[name][mask] = active
    weights = stored | weights
    tied = json.loads(metadata.get(TIED, "{}"))
    return weights | {name: weights[same] for name, same in tied.items()}, masks
