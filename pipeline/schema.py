"""The schema of params.yaml: every section, key, type, default and meaning. One for the file and the command line."""

import dataclasses
import inspect
import typing
from dataclasses import dataclass, field
from typing import Any

from granet.methods import METHODS, TIME, Method
from granet.steps import parse_time
from granet.train import TrainConfig
from granet.types import UserError


def key(default: Any, text: str) -> Any:
    """A schema key with its default and the comment it carries in params.yaml."""
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata={"help": text})
    return field(default=default, metadata={"help": text})


@dataclass
class GridConfig:
    """What to run: the matrices of dvc.yaml."""

    datasets: list[str] = key(["cifar10"], "digits | cifar10 | cifar100 | imagefolder")
    models: list[str] = key(["vgg19"], "resnet20 | vgg19 | resnet50_cifar | resnet50")
    methods: list[str] = key(
        ["gmp", "rigl", "granet", "granet_s2s"], "sections of this file that have a method"
    )
    sparsities: list[float] = key([0.9, 0.95, 0.98], "final sparsities, fractions in [0, 1)")
    seeds: list[int] = key([0, 1, 2], "a run per seed")
    reinit: list[str] = key(
        ["gmp", "granet"], "methods whose masks are retrained from new random weights (Figure 4)"
    )
    retrain: list[str] = key(["granet"], "methods whose masks are retrained by LTH and LRR (Table 6)")
    rewinds: list[str] = key(["lth", "lrr"], "lth: the run's initial weights; lrr: its final ones")


@dataclass
class DataConfig:
    """Where images come from, and how many. Prepared once per dataset, but for loader and num_workers."""

    root: str | None = key(None, "folder of the raw data; null: data/raw")
    train_size: int | None = key(None, "training images, class-balanced; null: all that are not held out")
    val_size: int | None = key(
        None, "images held out of the training set; null: the dataset's own (cifar10: 5000)"
    )
    test_size: int | None = key(None, "test images, class-balanced; null: all")
    image_size: int | None = key(None, "height and width for an imagefolder, pixels; null: the dataset's own")
    seed: int = key(0, "of the subset and the held-out images")
    verify: bool = key(True, "check the md5 of CIFAR's files")
    loader: str = key("auto", "ffcv | resident (all images on the device) | auto")
    num_workers: int = key(0, "decoding threads of ffcv; 0: one per core")


@dataclass
class TrackingConfig:
    """MLflow. The database is $MLFLOW_TRACKING_URI where set, else mlflow.db beside this file."""

    experiment: str = key("granet", "MLflow experiment that groups the runs")


SECTIONS: dict[str, type] = {
    "grid": GridConfig,
    "data": DataConfig,
    "train": TrainConfig,
    "tracking": TrackingConfig,
}


@dataclass
class Params:
    """params.yaml, checked. ``methods`` holds the method sections by name, completed by defaults."""

    grid: GridConfig
    data: DataConfig
    train: TrainConfig
    tracking: TrackingConfig
    methods: dict[str, dict[str, Any]]

    def sections(self) -> dict[str, dict[str, Any]]:
        """All sections as plain dicts, in the order of the file."""
        return {key: dataclasses.asdict(getattr(self, key)) for key in SECTIONS} | self.methods

    def method(self, section: str, sparsity: float, steps_per_epoch: int) -> Method:
        """The method a section describes, with its points in time in optimizer steps."""
        values = dict(self.methods[section])
        row = METHODS[values.pop("method")]
        for key in _time_keys(row):
            text = values[key]
            values[key] = (
                None if text == "auto" else parse_time(text, steps_per_epoch, key=f"{section}.{key}")
            )
        if values.get("si", 0) > 0 and values["tf"] is None and self.train.lr_drops:
            values["tf"] = round(min(self.train.lr_drops) * self.train.epochs * steps_per_epoch)
        if "sf" in inspect.signature(row).parameters:
            values["sf"] = sparsity
        try:
            return row(**values)
        except UserError as error:
            raise UserError(f"{section} at sparsity {sparsity}: {error}") from None


def _notes(row: typing.Callable[..., Method]) -> dict[str, tuple]:
    """What `granet.methods` says of each parameter of a row: the metadata of its annotation."""
    hints = typing.get_type_hints(row, include_extras=True)
    return {key: getattr(hint, "__metadata__", ()) for key, hint in hints.items()}


def _time_keys(row: typing.Callable[..., Method]) -> list[str]:
    return [key for key, notes in _notes(row).items() if TIME in notes]


def section_schema(method: str) -> type:
    """The keys of a method section: the parameters of its row in METHODS, but for the sparsity of the grid."""
    row = METHODS[method]
    times, notes = _time_keys(row), _notes(row)
    fields: list[tuple[str, type, Any]] = [("method", str, field(default=method))]
    for key, parameter in inspect.signature(row).parameters.items():
        if key != "sf":
            default = parameter.default
            if key in times:
                default = "auto" if default is None else f"{default}it"
            about = {"help": notes[key][-1]} if notes[key] else {}
            fields.append((key, type(default), field(default=default, metadata=about)))
    return dataclasses.make_dataclass(method, fields)
