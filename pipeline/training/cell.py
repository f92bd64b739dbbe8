"""One run of the grid, and the group of runs behind one mean: what DVC or a command line asks for."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from granet.common.keys import keys_of
from granet.common.seeds import stable_seed
from granet.data.config import DataConfig
from granet.models import plain
from granet.types import UserError
from pipeline import cli
from pipeline.params.chains import links
from pipeline.params.checks import check_run
from pipeline.params.files import load
from pipeline.params.schema import Params
from pipeline.training.stages import STAGES

RUNS, SCRATCH = Path("runs"), Path("scratch")
OF_A_RUN = ("seed", "member", "begun")
"""What tells the runs of a group apart."""


@dataclass(frozen=True)
class Group:
    """A cell of the grid without its seed: the runs behind one mean. Keys that the stage does not have are None."""

    stage: str
    dataset: str
    model: str
    method: str | None = None
    sparsity: float | None = None
    rewind: str | None = None
    network: str | None = None

    @property
    def name(self) -> str:
        """Unique among all groups, e.g. sparse-digits-resnet20-gmp-0.98."""
        keys = [key for key in names_of(self.stage) if key not in OF_A_RUN]
        return "-".join([self.stage, *(str(getattr(self, key)) for key in keys)])


@dataclass(frozen=True)
class Cell:
    """One run of a stage: a cell of the grid. Keys that the stage does not have are None."""

    stage: str
    dataset: str
    model: str
    seed: int
    method: str | None = None
    sparsity: float | None = None
    rewind: str | None = None
    network: str | None = None
    member: int | None = None
    begun: float | None = None
    """The sparsity of the network that a chain goes on from."""

    @property
    def name(self) -> str:
        """The run's name: its folder under runs/<stage> and its item in DVC's matrix. A chain has several in one."""
        return "-".join(str(getattr(self, key)) for key in names_of(self.stage))

    @property
    def dvc_stage(self) -> str:
        """What DVC calls it, e.g. dense@digits-resnet20-0."""
        return f"{self.stage}@{self.name}"

    @property
    def group(self) -> Group:
        """All runs that differ from this one in the seed alone."""
        return Group(**{key: value for key, value in vars(self).items() if key not in OF_A_RUN})

    @property
    def source(self) -> "Cell | None":
        """The finished run that this one starts from; None: it starts from scratch."""
        stage = STAGES[self.stage].source
        if self.begun is not None:
            return dataclasses.replace(self, sparsity=self.begun, begun=None)
        return dataclasses.replace(self, stage=stage) if stage else None

    @property
    def folder(self) -> Path:
        """Where DVC expects the results."""
        return RUNS / self._path

    @property
    def _path(self) -> Path:
        *names, last = names_of(self.stage)
        if last not in (STAGES[self.stage].along, "member"):
            return Path(self.stage, self.name)
        return Path(
            self.stage, "-".join(str(getattr(self, name)) for name in names), str(getattr(self, last))
        )

    def source_folder(self, folder: Path) -> Path | None:
        """Where the run that this one starts from lies, where this one lies in ``folder``."""
        if self.begun is not None:
            return folder.with_name(str(self.begun))
        return self.source.folder if self.source else None

    @property
    def run_seed(self) -> int:
        """What decides the order of images; of a soup's retrainings but one, it is another than the network's."""
        return stable_seed("member", self.seed, self.member) if self.member else self.seed

    @property
    def schedule(self) -> str | None:
        """The section that says how long this run trains; None: the common schedule, as the dense run's."""
        return self.method if STAGES[self.stage].own_schedule else None

    @property
    def code(self) -> str:
        """The section whose code decides the result; training a fixed mask is dense training but for the mask."""
        if self.stage == "soup":
            return "soup"
        return "plasticity" if self.network is not None else self.schedule or "dense"


def choices(stage: str, params: Params) -> dict[str, list[Any]]:
    """What the grid has for each key of a stage's cells, in the order of the run's name."""
    row, lists = STAGES[stage], vars(params.grid)
    names = {"sparsity": "sparsities", "method": row.methods, "network": row.networks}
    return {key: lists[names.get(key) or f"{key}s"] for key in row.keys}


def names_of(stage: str) -> tuple[str, ...]:
    """The keys that tell a stage's runs apart."""
    row = STAGES[stage]
    return (*row.keys, row.along) if row.along else row.keys


def cells(params: Params) -> Iterator[Cell]:
    """Every cell of the grid, in the order of the stages and of the grid's lists; the runs of a group stay together."""
    for stage in STAGES:
        lists = choices(stage, params)
        seeds = lists.pop("seed")
        ways = links(params.grid.sparsities) if STAGES[stage].along else [(None, None)]
        for *combination, (begun, sparsity) in product(*lists.values(), ways):
            keys = dict(zip(lists, combination, strict=True))
            along = {"sparsity": sparsity, "begun": begun} if STAGES[stage].along else {}
            for seed in seeds:
                yield Cell(stage, seed=seed, **keys, **along)


def cell_of(stage: str, values: dict[str, str], params: Params) -> Cell:
    """The cell that a command line names; keys left out are the first entries of the grid.

    Raises UserError for a value of the wrong type, an unknown section, and a key of which the grid has none.
    """
    kinds = {"seed": int, "member": int, "sparsity": float}
    cell: dict[str, Any] = {}
    for key, entries in choices(stage, params).items():
        if key not in values and not entries:
            raise UserError(f"the grid of params.yaml has no {key} for the {stage} stage; add {key}=...")
        kind = kinds.get(key, str)
        try:
            cell[key] = kind(values[key]) if key in values else entries[0]
        except ValueError:
            raise UserError(
                f"{key}={values[key]!r} is not valid: it must be of type {kind.__name__}"
            ) from None
    cell["model"] = plain(cell["model"])
    if (method := cell.get("method", "dense")) not in params.methods:
        raise UserError(f"method={method!r} is no section of params.yaml: {', '.join(params.methods)}")
    if (along := STAGES[stage].along) is None:
        return Cell(stage, **cell)
    ways = links(params.grid.sparsities)
    found = [way for way in ways if along not in values or values[along] == str(way[1])]
    if not found:
        raise UserError(
            f"{along}={values[along]} is not in grid.sparsities={params.grid.sparsities}; add it there"
        )
    return Cell(stage, **cell, begun=found[0][0], sparsity=found[0][1])


def _check_data(asked: Mapping[str, Any], prepared: Mapping[str, Any]) -> None:
    """Raise UserError where an override would have other data than those that lie there."""
    for name, key in keys_of(DataConfig).items():
        if key.decides_result and asked[name] != prepared[name]:
            raise UserError(
                f"data.{name}={asked[name]}: the data are prepared already; change params.yaml, then: dvc repro prepare"
            )


def run_of(stage: str, arguments: Sequence[str]) -> tuple[Cell, Params, Path]:
    """The cell that a command line asks for, the parameters with its overrides, and where the results go.

    Raises UserError where the run cannot be, and only for what it reads: other runs of the grid may have faults.
    """
    takes = (*names_of(stage), "out")
    values, overrides = cli.parse(arguments, takes, f"the {stage} stage", overrides=True)
    params = load(overrides)
    if any(text.startswith("data") for text in overrides):
        _check_data(vars(params.data), vars(load().data))
    cell = cell_of(stage, values, params)
    check_run(params, **vars(cell))
    folder = SCRATCH / cell.folder.relative_to(RUNS) if overrides else cell.folder
    if "out" in values:
        folder = Path(values["out"], *([folder.name] if STAGES[stage].along else []))
    return cell, params, folder
