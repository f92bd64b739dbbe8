"""Masks in a file: eight positions to a byte, or bool tensors as a run's masks.safetensors has them. No pickle."""

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from granet.common.files import atomic, one_line
from granet.masks import pack, shapes, unpack
from granet.types import Masks, Shapes, UserError

SHAPES, MASK = "shapes", "mask:"
"""Names in a file: of its header's entry with the shapes of all masks, and before the name of a packed mask."""


def save_masks(path: str | Path, masks: Masks) -> None:
    """Write masks alone, packed and atomically; `load_masks` and ``METHODS["fixed"]`` read them."""
    atomic(Path(path), save(packed(masks), header(masks)))


def load_masks(path: str | Path) -> Masks:
    """Masks on the CPU from any file that holds some: of `save_masks`, of a run, or with the weights beside them.

    Raises UserError for a file that is missing, no safetensors, or without masks.
    """
    stored, metadata = read(Path(path))
    if SHAPES in metadata:
        return unpacked(Path(path), stored, metadata)
    if other := [name for name, value in stored.items() if value.dtype is not torch.bool]:
        dtype = stored[other[0]].dtype
        raise UserError(f"{one_line(path)} holds no masks: {other[0]} is {dtype}; save_masks writes them")
    return stored


def packed(masks: Masks) -> dict[str, Tensor]:
    """The tensors of a file that stand for masks."""
    return {MASK + name: bits for name, bits in pack(masks).items()}


def header(masks: Masks) -> dict[str, str]:
    """The entry of a file's header that says which masks it holds, and their shapes."""
    return {SHAPES: json.dumps({name: list(shape) for name, shape in shapes(masks).items()})}


def read(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """All tensors of a safetensors file and its header's entries. Raises UserError where it is none."""
    if not path.is_file():
        raise UserError(f"{one_line(path)} is no file; give the path of a .safetensors file")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{one_line(path)} is no packed file, no safetensors even ({reason}); write it again"
        ) from None


def unpacked(path: Path, stored: dict[str, Tensor], metadata: Mapping[str, str]) -> Masks:
    """The masks of a packed file, which are taken out of ``stored``. Raises UserError where they are not whole."""
    try:
        found: Shapes = {name: tuple(shape) for name, shape in json.loads(metadata[SHAPES]).items()}
        bits = {name: stored.pop(MASK + name) for name in found}
        fits = all(
            bits[name].dtype is torch.uint8 and bits[name].shape == (-(-prod(shape) // 8),)
            for name, shape in found.items()
        )
    except (KeyError, ValueError, AttributeError, TypeError):
        found, bits, fits = {}, {}, False
    if not fits:
        raise UserError(
            f"{one_line(path)} is no packed file: its masks do not go with its header; write it again"
        )
    return unpack(bits, found)
