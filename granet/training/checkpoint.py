"""Checkpoints: all that changes in a run. Written atomically, so a file that exists is whole."""

from functools import partial
from pathlib import Path

import torch

from granet.common.files import atomic
from granet.training.history import Row
from granet.training.run import Run


def save(path: Path, state: dict) -> None:
    """Write ``state`` (tensors, numbers, strings, dicts and lists of them) or leave the old file untouched."""
    atomic(path, partial(torch.save, state))


def load(path: Path) -> dict | None:
    """The state, on the CPU; None where there is no checkpoint."""
    return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None


def state_of(run: Run, history: list[Row]) -> dict:
    """The state of a run between two epochs. Orders, augmentations and schedules are functions of (seed, step)."""
    return {
        "model": run.model.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "sparsifier": run.sparsifier.state_dict(),
        "history": history,
    }


def restore(run: Run, state: dict | None) -> list[Row]:
    """Put a run into a state, which it takes over, and return the rows so far: none where there is no state."""
    if state is None:
        return []
    run.model.load_state_dict(state["model"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.sparsifier.load_state_dict(state["sparsifier"])
    return state["history"]
