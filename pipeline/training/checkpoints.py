"""Where a run's checkpoints lie: in .checkpoints, in a folder named by all that its result depends on."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch

import granet
from granet.common.distributed import told, world
from granet.data import Data
from granet.training.run import Run
from pipeline.params import sections as resolve
from pipeline.params.files import Params
from pipeline.training.cell import STAGE_KEYS, Cell
from pipeline.workspace import own_folder


@contextmanager
def shared_folder(parent: Path, key: str) -> Iterator[Path]:
    """`own_folder`, the same one for all processes of a run."""
    with own_folder(parent, key) if world().leads else nullcontext() as folder:
        yield Path(told(str(folder)))


def config_of(cell: Cell, params: Params) -> dict:
    """The resolved configuration of a run."""
    section = params.methods[cell.method or "dense"]
    return {
        **{key: getattr(cell, key) for key in STAGE_KEYS[cell.stage]},
        "stage": cell.stage,
        "data": dataclasses.asdict(params.data),
        "train": dataclasses.asdict(params.train),
        "hyperparameters": section,
        **({"plasticity": dataclasses.asdict(params.plasticity)} if cell.stage == "plasticity" else {}),
    }


def _without_grid(config: dict) -> dict:
    """A configuration without the list of branches, so that another list goes on with those that are there."""
    continued = config.get("plasticity", {}).get("continued_epochs")
    return {key: value for key, value in config.items() if key != "plasticity"} | {"continued": continued}


def key_of(config: dict, data: Data, run: Run, cell: Cell) -> str:
    """Names the checkpoint: a hash of all that a run's result depends on, the code included."""
    digest = hashlib.blake2b(digest_size=12)
    parts = [_without_grid(config), data.md5, str(run.device), run.precision, torch.__version__]
    digest.update(json.dumps(parts, sort_keys=True).encode())
    for file in (*sorted(Path(granet.__file__).parent.rglob("*.py")), Path(resolve.__file__)):
        digest.update(file.read_bytes())
    if cell.source is not None:
        for file in ("masks.safetensors", "model.safetensors"):
            digest.update((cell.source.folder / file).read_bytes())
    return digest.hexdigest()
