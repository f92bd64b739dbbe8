"""Checkpoints: written atomically, so a file that exists is whole."""

from functools import partial
from pathlib import Path

import torch

from granet.common.files import atomic


def save(path: Path, state: dict) -> None:
    """Write ``state`` (tensors, numbers, strings, dicts and lists of them) or leave the old file untouched."""
    atomic(path, partial(torch.save, state))


def load(path: Path) -> dict | None:
    """The state, on the CPU; None where there is no checkpoint."""
    return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None
