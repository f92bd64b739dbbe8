"""Checkpoints: written atomically, so a file that exists is whole."""

import os
from pathlib import Path

import torch


def save(path: Path, state: dict) -> None:
    """Write ``state`` (tensors, numbers, strings, dicts and lists of them) or leave the old file untouched."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        torch.save(state, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: Path) -> dict | None:
    """The state, on the CPU; None where there is no checkpoint."""
    return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None
