"""Checkpoints: all that changes in a run. A file that is there is whole, and the one before it is kept beside it."""

import io
import pickle
import zipfile
from pathlib import Path

import torch

from granet.common.files import atomic
from granet.training.history import Row
from granet.training.run import Run
from granet.types import UserError


def save(path: Path, state: dict, *, keep: bool = False) -> None:
    """Write ``state`` (tensors, numbers, strings, dicts and lists of them) or leave the old file untouched.

    ``keep``: what was there becomes the one before (`before`).
    """
    content = io.BytesIO()
    torch.save(state, content)

    def write(temporary: Path) -> None:
        temporary.write_bytes(content.getbuffer())
        if keep and path.exists():
            path.replace(before(path))

    atomic(path, write)


def before(path: Path) -> Path:
    """Where the checkpoint before the last one lies.

    >>> before(Path("run/last.pt")).as_posix()
    'run/before-last.pt'
    """
    return path.with_name(f"before-{path.name}")


def load(path: Path) -> dict | None:
    """The state, on the CPU; None where there is no checkpoint. Raises UserError where it is damaged.

    The file is a zip archive, which holds a CRC-32 of every tensor.
    """
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            if (part := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"{part} has another checksum")
        return torch.load(path, map_location="cpu", weights_only=True)
    except (zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise UserError(f"{path} is damaged: {str(error).splitlines()[0]}") from None


def newest(path: Path) -> tuple[dict | None, list[str]]:
    """The newest state that is whole, at ``path`` or before; and what is wrong with those that are not."""
    faults = []
    for candidate in (path, before(path)):
        try:
            if (state := load(candidate)) is not None:
                return state, faults
        except UserError as error:
            faults.append(str(error))
    return None, faults


def last_good(path: Path) -> str:
    """The newest state that is whole, in words: its file, and how far it is."""
    state, faults = newest(path)
    if state is None:
        return "it has no checkpoint yet"
    within, epoch = state.get("within"), len(state["history"])
    place = f"batch {within['batches']} of epoch {epoch + 1}" if within else f"epoch {epoch}"
    file = path if path.exists() and not faults else before(path)
    return f"its last checkpoint is {file} ({place}, step {state['sparsifier']['step']})"


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
