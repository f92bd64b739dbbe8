"""The command line of a stage that runs one cell of the grid."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from granet.common.keys import keys_of
from granet.data.config import DataConfig
from granet.types import UserError
from pipeline import cli
from pipeline.params.checks import check_run
from pipeline.params.files import load
from pipeline.params.schema import Params
from pipeline.training.cell import SCRATCH, Cell, cell_of
from pipeline.training.stages import STAGES


def run_of(stage: str, arguments: Sequence[str]) -> tuple[Cell, Params, Path]:
    """The cell that a command line asks for, the parameters with its overrides, and where the results go.

    Raises UserError where the run cannot be, and only for what it reads: other runs of the grid may have faults.
    """
    values, overrides = cli.parse(
        arguments, (*STAGES[stage].keys, "out"), f"the {stage} stage", overrides=True
    )
    fixed = [f"data.{name}" for name, key in keys_of(DataConfig).items() if key.decides_result]
    for text in overrides:
        if text.partition("=")[0] in fixed:
            raise UserError(
                f"{text}: the data are prepared already; change params.yaml, then: dvc repro prepare"
            )
    params = load(overrides)
    cell = cell_of(stage, values, params)
    check_run(params, **dataclasses.asdict(cell))
    folder = SCRATCH / stage / cell.name if overrides else cell.folder
    return cell, params, Path(values.get("out", folder))
