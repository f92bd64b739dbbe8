"""Checkpoints: all that changes in a run. A file that is there is whole, and the one before it is kept beside it."""

import io
import pickle
import zipfile
from pathlib import Path

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint

from granet.common.files import atomic
from granet.training.history import Row
from granet.training.run import Run
from granet.types import UserError

PARTS = ("model", "optimizer", "sparsifier", "history")
"""What the state of a run is made of."""


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
    """The state, on the CPU; None where there is no checkpoint. Raises UserError where it is damaged, or none.

    The file is a zip archive, which holds a CRC-32 of every tensor. Nothing in it is executed: a file that asks for
    anything but tensors and plain values is refused, with the name of that.
    """
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            if (part := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"{part} has another checksum")
        if foreign := get_unsafe_globals_in_checkpoint(path):
            raise pickle.UnpicklingError(f"it asks for {foreign[0]}, which a state does not need")
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise ValueError(f"it holds a {type(state).__name__}, and no state")
        return state
    except (
        zipfile.BadZipFile,
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
    ) as error:
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
    } | run.average.state_dict()


def restore(run: Run, state: dict | None) -> list[Row]:
    """Put a run into a state, which it takes over, and return the rows so far: none where there is no state.

    Raises UserError where the state is not of such a run.
    """
    if state is None:
        return []
    try:
        run.sparsifier.shrink(state["sparsifier"])  # to the shapes of the state
        run.model.load_state_dict(state["model"])
        run.optimizer.load_state_dict(state["optimizer"])
        run.sparsifier.load_state_dict(state["sparsifier"])
        run.average.load_state_dict(state)
        return state["history"]
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        if isinstance(error, RuntimeError) and not reason.startswith("Error(s) in loading state_dict"):
            raise  # of the device, which says nothing of the state
        raise UserError(
            f"{run.title}: the checkpoint to go on from is of another run ({reason}); move it away to begin anew"
        ) from error
