"""Where a run's checkpoints lie: in .checkpoints, in a folder named by all that its result depends on."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from granet.common.distributed import told, world
from granet.common.keys import keys_of
from granet.training.run import Run
from pipeline.params.schema import Params
from pipeline.training.cell import Cell
from pipeline.training.folder import CHECKPOINTS, RunFolder
from pipeline.training.stages import STAGES
from pipeline.workspace import own_folder


@contextmanager
def shared_folder(parent: Path, key: str) -> Iterator[Path]:
    """`own_folder`, the same one for all processes of a run."""
    with own_folder(parent, key) if world().leads else nullcontext() as folder:
        yield Path(told(str(folder)))


def config_of(cell: Cell, params: Params) -> dict[str, Any]:
    """The configuration of a run: its cell's keys, and the sections of params.yaml that it reads."""
    return {
        **{key: getattr(cell, key) for key in STAGES[cell.stage].keys},
        "stage": cell.stage,
        "data": dataclasses.asdict(params.data),
        "train": dataclasses.asdict(params.train),
        "hyperparameters": params.methods[cell.method or "dense"],
        **({"plasticity": dataclasses.asdict(params.plasticity)} if cell.stage == "plasticity" else {}),
    }


def deciding(section: Any) -> dict[str, Any]:
    """The keys of a section that decide results, with their values."""
    return {name: getattr(section, name) for name, key in keys_of(section).items() if key.decides_result}


def key_of(cell: Cell, params: Params, run: Run, made_from: dict[str, str], keep: list[int]) -> str:
    """Names the checkpoint: a hash of the parameters, the data, the code, and the results that the run starts from.

    Not of the lists of branches of a plasticity run: another list goes on with those that are there. ``keep``: the
    epochs whose checkpoints are results as well.
    """
    study = {"continued": params.plasticity.continued_epochs} if cell.stage == "plasticity" else {}
    parts = [
        dataclasses.asdict(cell),
        deciding(params.data),
        deciding(params.train),
        params.methods[cell.method or "dense"],
        study,
        keep,
        made_from["data_md5"],
        made_from["code"],
        str(run.device),
        run.precision,
        torch.__version__,
    ]
    digest = hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=12)
    if cell.source is not None:
        source = RunFolder(cell.source.folder)
        for name in STAGES[cell.stage].reads:
            if name != CHECKPOINTS:
                digest.update(source.file(name).read_bytes())
    return digest.hexdigest()
