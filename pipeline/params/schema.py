"""The schema of params.yaml: every section, key, type, default, meaning and range. One for file and command line."""

import dataclasses
import inspect
import typing
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from granet.common.keys import Key, key
from granet.data import DATASETS
from granet.data.config import DataConfig
from granet.method import Family, Method
from granet.methods import INTERVAL, METHODS, TIME
from granet.models import LIBRARIES, MODELS
from granet.studies.plasticity import PlasticityConfig
from granet.training.config import TrainConfig
from pipeline.params import sections

REWINDS = ("lth", "lrr")
Time = int | str
"""A point in time or an interval as it may be written: 30, "30it", "0.5ep", "auto"."""


@dataclass
class GridConfig:
    """What to run: the matrices of dvc.yaml."""

    datasets: list[str] = key(["cifar10"], " | ".join(DATASETS), choices=tuple(DATASETS))
    models: list[str] = key(
        ["vgg19"],
        " | ".join([*MODELS, *(f"{library}.NAME" for library in LIBRARIES)]),
        choices=tuple(MODELS),
        starts=tuple(f"{library}." for library in LIBRARIES),
    )
    methods: list[str] = key(
        ["gmp", "rigl", "granet", "granet_s2s"], "sections that train from scratch; []: none"
    )
    after: list[str] = key(
        [], "sections that go on from the trained dense network: one_shot, obd, imp, bimp, sis"
    )
    chains: list[str] = key([], "those that go on from one sparsity to the next higher one: imp, bimp")
    soups: list[str] = key(
        [], "those that prune it once, and whose retrainings are averaged: bimp_one_shot, one_shot"
    )
    members: list[int] = key(
        [0, 1, 2], "retrainings of a soup, each with an order of images of its own", at_least=0
    )
    sparsities: list[float] = key(
        [0.9, 0.95, 0.98], "final sparsities, fractions in (0, 1)", above=0, below=1
    )
    seeds: list[int] = key([0, 1, 2], "a run per seed", at_least=0)
    reinit: list[str] = key(
        ["gmp", "granet"], "methods whose masks are retrained from new random weights (Figure 4)"
    )
    retrain: list[str] = key(["granet"], "methods whose masks are retrained by LTH and LRR (Table 6)")
    rewinds: list[str] = key(
        list(REWINDS), "lth: the run's initial weights; lrr: its final ones", choices=REWINDS
    )
    pretrain: list[str] = key(
        [], "networks of the plasticity study: granularity-sparsity, e.g. element-0.9, filter-0.5"
    )
    export: list[str] = key([], "those of them that are shrunk, packed and written as ONNX")


@dataclass
class TrackingConfig:
    """MLflow. The database is $MLFLOW_TRACKING_URI where set, else mlflow.db beside this file."""

    experiment: str = key("granet", "MLflow experiment that groups the runs")
    offline: bool = key(False, "keep what is to be logged; python -m pipeline.tracking sync sends it later")


@dataclass
class LaunchConfig:
    """python -m pipeline.launch: runs that share a GPU here, and what a run asks of Slurm. No result depends on it."""

    runs_per_gpu: int = key(1, "runs at a time on each GPU of this machine; more for small ones", at_least=1)
    partition: str | None = key(None, "of Slurm; null: the cluster's default")
    minutes: int = key(
        1440,
        "time limit of a Slurm job; a run that needs longer waits in the queue again, and goes on",
        at_least=1,
    )
    gpus: int | None = key(
        None, "of a Slurm job that trains; null: train.num_processes; 0: it trains on the CPU", at_least=0
    )
    cpus: int = key(4, "cores of a Slurm job", at_least=1)
    memory_gb: int | None = key(None, "memory of a Slurm job; null: the partition's default", at_least=1)


@dataclass
class Params:
    """params.yaml, checked. ``methods`` holds the method sections by name, completed by defaults."""

    grid: GridConfig
    data: DataConfig
    train: TrainConfig
    plasticity: PlasticityConfig
    tracking: TrackingConfig
    launch: LaunchConfig
    methods: dict[str, dict[str, Any]]

    def sections(self) -> dict[str, dict[str, Any]]:
        """All sections as plain dicts, in the order of the file."""
        return {name: dataclasses.asdict(getattr(self, name)) for name in SECTIONS} | self.methods

    def train_config(self, section: str | None) -> TrainConfig:
        """How a method section trains. None: no section's own extension, as the dense run."""
        return sections.train_config(self.train, self.methods[section] if section else {})

    def method(
        self, section: str, sparsity: float, steps_per_epoch: int, begun: float | None = None
    ) -> Method:
        """The method that a section describes, with all times in optimizer steps.

        ``begun``: the sparsity of the network that a chain goes on from.
        """
        values = self.methods[section]
        return sections.method(section, values, self.train, sparsity, steps_per_epoch, begun)

    def family(self, section: str) -> Family:
        """The family of a section's method, which may depend on its values: GraNet's is that of its si."""
        return family(self.methods[section])

    def stage_of(self, section: str) -> str:
        """The stage that trains a section.

        After, where it starts from the trained dense network, or chain, where the grid has it there; else sparse.
        """
        if section in self.grid.chains:
            return "chain"
        return "after" if self.family(section) == "after_training" else "sparse"


SECTIONS: dict[str, type] = {
    name: kind for name, kind in typing.get_type_hints(Params).items() if name != "methods"
}
"""The sections that are no method, in the order of the file."""


def family(values: dict[str, Any]) -> Family:
    """The family of the method that a section's values describe; no length of a run and no sparsity changes it."""
    row = METHODS[values["method"]]
    times = sections.keys(row, TIME)
    left_out = ("method", "extend", *times, *sections.keys(row, INTERVAL))
    arguments = {name: value for name, value in values.items() if name not in left_out}
    for name in times:  # where a time stands in the place of a word, it is another family: IMP's rewind
        if others := sections.words(row, name):
            arguments[name] = value if (value := values[name]) in others else 0
    if "sf" in inspect.signature(row).parameters:
        arguments["sf"] = max(0.5, arguments.get("si", 0.0))
    return row(**arguments).family


@cache
def section_schema(method: str) -> type:
    """The keys of a method section: the parameters of its row in METHODS, and its extension.

    Sparsities are the grid's, so they are left out; a row without (dense) has no extension either. Points in time and
    intervals are texts here; their range is that of the steps which they mean in a run.
    """
    row = METHODS[method]
    parameters, hints = inspect.signature(row).parameters, typing.get_type_hints(row)
    times, intervals = sections.keys(row, TIME), sections.keys(row, INTERVAL)
    fields: list[tuple[str, Any, Any]] = [("method", str, field(default=method))]
    for name, notes in sections.notes(row).items():
        if name in ("sf", "begun", "return"):
            continue
        kind, default = hints[name], parameters[name].default
        about = next((note for note in notes if isinstance(note, Key)), Key(""))
        if name in times:
            own = default if default in about.choices else "auto" if default is None else f"{default}it"
            kind, default, about = Time, own, Key(about.text)
        elif name in intervals:
            kind, default, about = Time, "auto", Key(f"{about.text} (own: {default}it)")
        fields.append((name, kind, field(default=default, metadata={"key": about})))
    if "sf" in parameters:
        text = "factor, 1 or more, on the length of the run, e.g. 2.0"
        fields.append(("extend", float, key(1.0, text, at_least=1)))
    return dataclasses.make_dataclass(method, fields)
