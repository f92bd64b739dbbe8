"""One cell of the grid: what a training process is asked for, by DVC or on a command line."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from granet.types import UserError
from pipeline.params.files import Params, load

STAGE_KEYS = {
    "dense": ("dataset", "model", "seed"),
    "pretrain": ("dataset", "model", "network", "seed"),
    "sparse": ("dataset", "model", "method", "sparsity", "seed"),
    "after": ("dataset", "model", "method", "sparsity", "seed"),
    "reinit": ("dataset", "model", "method", "sparsity", "seed"),
    "retrain": ("dataset", "model", "method", "sparsity", "seed", "rewind"),
    "plasticity": ("dataset", "model", "network", "seed"),
    "export": ("dataset", "model", "network", "seed"),
}
SOURCES = {
    "after": "dense",
    "reinit": "sparse",
    "retrain": "sparse",
    "plasticity": "pretrain",
    "export": "pretrain",
}
"""Stages that start from a finished run, and the stage of that run."""
KEY_TYPES = {
    "dataset": str,
    "model": str,
    "seed": int,
    "method": str,
    "sparsity": float,
    "rewind": str,
    "network": str,
}


@dataclass(frozen=True)
class Cell:
    """One training run of a stage: a cell of the grid. Keys that the stage does not have are None."""

    stage: str
    dataset: str
    model: str
    seed: int
    method: str | None = None
    sparsity: float | None = None
    rewind: str | None = None
    network: str | None = None

    @property
    def name(self) -> str:
        """The run's name: its folder under runs/<stage> and its item in DVC's matrix."""
        return "-".join(str(getattr(self, key)) for key in STAGE_KEYS[self.stage])

    @property
    def source(self) -> "Cell | None":
        """The finished run that this one starts from; None: it starts from scratch."""
        stage = SOURCES.get(self.stage)
        return dataclasses.replace(self, stage=stage) if stage else None

    @property
    def folder(self) -> Path:
        """Where DVC expects the results."""
        return Path("runs") / self.stage / self.name

    @property
    def schedule(self) -> str | None:
        """The section that says how long this run trains; None: the common schedule, as the dense run's."""
        return self.method if self.stage in ("sparse", "after") else None


def parse(stage: str, arguments: Sequence[str]) -> tuple[Cell, Params, Path]:
    """A stage's command line: cell keys (default: the grid's first entries), out=DIR, section.key=value overrides.

    Without overrides the results go to runs/<stage>/<name>, where DVC expects them; with overrides, to scratch/.
    """
    own = dict(text.split("=", 1) for text in arguments if "=" in text and "." not in text.split("=", 1)[0])
    overrides = [text for text in arguments if text.partition("=")[0] not in own]
    for text in overrides:
        if text.startswith("data.") and text.partition("=")[0] not in ("data.loader", "data.num_workers"):
            raise UserError(
                f"{text}: the data are prepared already; change params.yaml, then: dvc repro prepare"
            )
    params = load(overrides)
    grid = params.grid
    choices = {
        "dataset": grid.datasets,
        "model": grid.models,
        "seed": grid.seeds,
        "method": {"after": grid.after, "reinit": grid.reinit, "retrain": grid.retrain}.get(
            stage, grid.methods
        ),
        "sparsity": grid.sparsities,
        "rewind": grid.rewinds,
        "network": grid.pretrain,
    }
    keys = STAGE_KEYS[stage]
    if unknown := sorted(set(own) - {*keys, "out"}):
        raise UserError(f"{unknown[0]} is an unknown key of the {stage} stage; it has {', '.join(keys)}, out")
    for key in keys:
        if key not in own and not choices[key]:
            raise UserError(f"the grid of params.yaml has no {key} for the {stage} stage; add {key}=...")
    values = {key: _typed(key, own[key]) if key in own else choices[key][0] for key in keys}
    if "method" in values and values["method"] not in params.methods:
        raise UserError(
            f"method={values['method']!r} is no section of params.yaml: {', '.join(params.methods)}"
        )
    cell = Cell(stage, **values)
    folder = Path("scratch", stage, cell.name) if overrides else cell.folder
    return cell, params, Path(own.get("out", folder))


def _typed(key: str, text: str) -> Any:
    kind = KEY_TYPES[key]
    try:
        return kind(text)
    except ValueError:
        raise UserError(f"{key}={text!r} is not valid: it must be of type {kind.__name__}") from None
