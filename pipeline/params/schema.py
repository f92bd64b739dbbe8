"""The schema of params.yaml: every section, key, type, default and meaning. One for the file and the command line."""

import dataclasses
import inspect
import math
from dataclasses import dataclass, field, replace
from typing import Any

from granet.common.keys import check_keys, key
from granet.data import DATASETS
from granet.data.config import DataConfig
from granet.method import Method
from granet.methods import INTERVAL, METHODS, TIME
from granet.models import MODELS
from granet.studies.plasticity import PlasticityConfig
from granet.training.config import TrainConfig
from granet.types import UserError
from pipeline.params import sections as resolve


@dataclass
class GridConfig:
    """What to run: the matrices of dvc.yaml."""

    datasets: list[str] = key(["cifar10"], " | ".join(DATASETS))
    models: list[str] = key(["vgg19"], " | ".join(MODELS))
    methods: list[str] = key(
        ["gmp", "rigl", "granet", "granet_s2s"], "sections that train from scratch; []: none"
    )
    after: list[str] = key([], "sections that go on from the trained dense network: one_shot, imp, sis")
    sparsities: list[float] = key(
        [0.9, 0.95, 0.98], "final sparsities, fractions in [0, 1)", above=0, below=1
    )
    seeds: list[int] = key([0, 1, 2], "a run per seed", at_least=0)
    reinit: list[str] = key(
        ["gmp", "granet"], "methods whose masks are retrained from new random weights (Figure 4)"
    )
    retrain: list[str] = key(["granet"], "methods whose masks are retrained by LTH and LRR (Table 6)")
    rewinds: list[str] = key(["lth", "lrr"], "lth: the run's initial weights; lrr: its final ones")
    pretrain: list[str] = key(
        [], "networks of the plasticity study: granularity-sparsity, e.g. element-0.9, filter-0.5"
    )
    export: list[str] = key([], "those of them that are shrunk, packed and written as ONNX")


@dataclass
class TrackingConfig:
    """MLflow. The database is $MLFLOW_TRACKING_URI where set, else mlflow.db beside this file."""

    experiment: str = key("granet", "MLflow experiment that groups the runs")


@dataclass
class LaunchConfig:
    """python -m pipeline.launch: runs that share a GPU here, and what a run asks of Slurm. No result depends on it."""

    runs_per_gpu: int = key(1, "runs at a time on each GPU of this machine; more for small ones", at_least=1)
    partition: str | None = key(None, "of Slurm; null: the cluster's default")
    minutes: int = key(
        1440, "time limit of a Slurm job; a run that it cuts off goes on when launched again", at_least=1
    )
    gpus: int | None = key(
        None, "of a Slurm job that trains; null: train.num_processes; 0: it trains on the CPU", at_least=0
    )
    cpus: int = key(4, "cores of a Slurm job", at_least=1)
    memory_gb: int | None = key(None, "memory of a Slurm job; null: the partition's default", at_least=1)

    def __post_init__(self) -> None:
        check_keys("launch", self)


SECTIONS: dict[str, type] = {
    "grid": GridConfig,
    "data": DataConfig,
    "train": TrainConfig,
    "plasticity": PlasticityConfig,
    "tracking": TrackingConfig,
    "launch": LaunchConfig,
}


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
        return {key: dataclasses.asdict(getattr(self, key)) for key in SECTIONS} | self.methods

    def train_config(self, section: str | None) -> TrainConfig:
        """How a method section trains. None: no section's own extension, as the dense run."""
        return resolve.train_config(self.train, self.methods[section] if section else {})

    def method(self, section: str, sparsity: float, steps_per_epoch: int) -> Method:
        """The method a section describes, with all times in optimizer steps."""
        return resolve.method(section, self.methods[section], self.train, sparsity, steps_per_epoch)


def section_schema(method: str) -> type:
    """The keys of a method section: the parameters of its row in METHODS and its extension.

    The sparsity is the grid's, so it is left out; a row without it (dense) has no extension of its own either.
    """
    row = METHODS[method]
    times, intervals, notes = resolve.keys(row, TIME), resolve.keys(row, INTERVAL), resolve.notes(row)
    fields: list[tuple[str, type, Any]] = [("method", str, field(default=method))]
    for name, parameter in inspect.signature(row).parameters.items():
        default = parameter.default
        if name == "sf":
            continue
        if name in intervals or (name in times and default is None):
            default = "auto"
        elif name in times:
            default = f"{default}it"
        about = {"key": notes[name][-1]} if notes[name] else {}
        if name in intervals:
            about["key"] = replace(about["key"], text=f"{about['key'].text} (own: {parameter.default}it)")
        fields.append((name, type(default), field(default=default, metadata=about)))
    if "sf" in inspect.signature(row).parameters:
        fields.append(("extend", float, key(1.0, "factor, 1 or more, on the length of the run, e.g. 2.0")))
    return dataclasses.make_dataclass(method, fields)


def complete(section: str, values: dict[str, Any]) -> dict[str, Any]:
    """A checked method section as the rest of the pipeline sees it: intervals of bare steps get their unit.

    Raises UserError where ``extend`` would shorten the run, or a text is no point in time or no interval.
    """
    if not 1 <= values.get("extend", 1.0) < math.inf:
        raise UserError(
            f"{section}.extend={values['extend']} must be at least 1: training can only be made longer"
        )
    row = METHODS[values["method"]]
    for name in resolve.keys(row, TIME):
        resolve.point(values[name], 1, 1.0, f"{section}.{name}")
    intervals = {name: values[name] for name in resolve.keys(row, INTERVAL)}
    intervals |= {name: f"{text}it" for name, text in intervals.items() if text.isdigit()}
    for name, text in intervals.items():
        resolve.interval(text, 1, 1, f"{section}.{name}")
    return values | intervals
