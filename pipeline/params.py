"""One schema for params.yaml and the command line; the only module that reads or writes YAML.

    python -m pipeline.params recipe=quick [key=value ...]     write params.yaml from a recipe, show what changed

Recipes lie in pipeline/conf/recipe. Every other key is one of params.yaml, e.g. grid.seeds=[0,1,2] granet.si=0.5.
"""

import dataclasses
import difflib
import inspect
import sys
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from granet.data import DATASETS, LOADERS
from granet.methods import METHODS, TIME, Method
from granet.models import MODELS
from granet.retrain import REWINDS
from granet.steps import parse_time
from granet.train import TrainConfig
from granet.types import UserError

FILE = Path("params.yaml")
CONF = Path(__file__).parent / "conf"
YAML_END = "...\n"  # PyYAML's end mark behind a scalar


def _key(default: Any, text: str) -> Any:
    """A schema key with its default and the comment it carries in params.yaml."""
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata={"help": text})
    return field(default=default, metadata={"help": text})


@dataclass
class GridConfig:
    """What to run: the matrices of dvc.yaml."""

    datasets: list[str] = _key(["cifar10"], "digits | cifar10 | cifar100 | imagefolder")
    models: list[str] = _key(["vgg19"], "resnet20 | vgg19 | resnet50_cifar | resnet50")
    methods: list[str] = _key(
        ["gmp", "rigl", "granet", "granet_s2s"], "sections of this file that have a method"
    )
    sparsities: list[float] = _key([0.9, 0.95, 0.98], "final sparsities, fractions in [0, 1)")
    seeds: list[int] = _key([0, 1, 2], "a run per seed")
    reinit: list[str] = _key(
        ["gmp", "granet"], "methods whose masks are retrained from new random weights (Figure 4)"
    )
    retrain: list[str] = _key(["granet"], "methods whose masks are retrained by LTH and LRR (Table 6)")
    rewinds: list[str] = _key(["lth", "lrr"], "lth: the run's initial weights; lrr: its final ones")


@dataclass
class DataConfig:
    """Where images come from, and how many. Prepared once per dataset, but for loader and num_workers."""

    root: str | None = _key(None, "folder of the raw data; null: data/raw")
    train_size: int | None = _key(None, "training images, class-balanced; null: all that are not held out")
    val_size: int | None = _key(
        None, "images held out of the training set; null: the dataset's own (cifar10: 5000)"
    )
    test_size: int | None = _key(None, "test images, class-balanced; null: all")
    image_size: int | None = _key(
        None, "height and width for an imagefolder, pixels; null: the dataset's own"
    )
    seed: int = _key(0, "of the subset and the held-out images")
    verify: bool = _key(True, "check the md5 of CIFAR's files")
    loader: str = _key("auto", "ffcv | resident (all images on the device) | auto")
    num_workers: int = _key(0, "decoding threads of ffcv; 0: one per core")


@dataclass
class TrackingConfig:
    """MLflow. The database is $MLFLOW_TRACKING_URI where set, else mlflow.db beside this file."""

    experiment: str = _key("granet", "MLflow experiment that groups the runs")


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
            values["tf"] = round(self.train.lr_drops[0] * self.train.epochs * steps_per_epoch)
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


def _check_section(name: str, schema: type, values: Any) -> Any:
    """``values`` as an instance of ``schema``; one clear line for an unknown key or a wrong type."""
    if not isinstance(values, dict):
        raise UserError(f"{name}={values!r} must be a section of keys, not a value")
    known = [f.name for f in dataclasses.fields(schema)]
    for key in values:
        if key not in known:
            raise UserError(f"{name}.{key} is an unknown key; {_suggest(str(key), known)}")
    for key, value in values.items():
        try:
            OmegaConf.merge(OmegaConf.structured(schema), {key: value})
        except OmegaConfBaseException as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            raise UserError(f"{name}.{key}={value!r} is not valid: {reason}") from None
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), values))


def _suggest(word: str, known: typing.Iterable[str]) -> str:
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]}?" if close else f"choose from {', '.join(known)}"


def validate(raw: dict[str, Any]) -> Params:
    """Check everything that can be checked before any work. Raises UserError with one line for the first fault."""
    methods = {}
    for name, values in raw.items():
        if name in SECTIONS:
            continue
        if not isinstance(values, dict) or "method" not in values:
            choices = [*SECTIONS, *(k for k, v in raw.items() if isinstance(v, dict) and "method" in v)]
            raise UserError(
                f"{name} is an unknown section; {_suggest(name, choices)} (a method section has a method key)"
            )
        _choose(f"{name}.method", values["method"], METHODS)
        methods[name] = dataclasses.asdict(_check_section(name, section_schema(values["method"]), values))
    fixed = {name: _check_section(name, schema, raw.get(name, {})) for name, schema in SECTIONS.items()}
    params = Params(**fixed, methods=methods)
    _check_grid(params)
    _check_data(params.data)
    return params


def _choose(key: str, value: Any, choices: typing.Iterable[str]) -> None:
    if value not in (names := list(choices)):
        raise UserError(f"{key}={value!r} is unknown; {_suggest(str(value), names)}")


def _check_grid(params: Params) -> None:
    grid = params.grid
    for key, values in dataclasses.asdict(grid).items():
        if not values:
            raise UserError(
                f"grid.{key}=[] is empty: DVC cannot make a matrix of it; give it at least one entry"
            )
        if len(set(values)) < len(values):
            raise UserError(f"grid.{key}={values} names an entry twice; remove one")
    trained = [name for name, section in params.methods.items() if section["method"] != "dense"]
    for key, choices in (
        ("datasets", DATASETS),
        ("models", MODELS),
        ("methods", trained),
        ("reinit", grid.methods),
        ("retrain", grid.methods),
        ("rewinds", REWINDS),
    ):
        for value in getattr(grid, key):
            _choose(f"grid.{key}", value, choices)
    for sparsity in grid.sparsities:
        if not 0 <= sparsity < 1:
            raise UserError(f"grid.sparsities={sparsity} must lie in [0, 1): a fraction, 0.9 for 90 %")
    for seed in grid.seeds:
        if seed < 0:
            raise UserError(f"grid.seeds={seed} must be 0 or more")
    for dataset in grid.datasets:
        steps = _steps_per_epoch(params, dataset)
        for section in grid.methods:
            for sparsity in grid.sparsities:
                method = params.method(section, sparsity, steps)
                if method.prune:
                    try:
                        method.prune.span(params.train.epochs * steps, method.update_interval or 1)
                    except UserError as error:
                        raise UserError(f"{section}: {error}") from None


def _steps_per_epoch(params: Params, dataset: str) -> int:
    """Optimizer steps per epoch, as far as the parameters tell before the data is read."""
    row, data = DATASETS[dataset], params.data
    full = (row.num_train or 1_000_000) - (row.val_size if data.val_size is None else data.val_size)
    return -(-(data.train_size or full) // params.train.batch_size)


def _check_data(data: DataConfig) -> None:
    _choose("data.loader", data.loader, LOADERS)
    for key, lowest in (
        ("train_size", 1),
        ("val_size", 0),
        ("test_size", 1),
        ("image_size", 32),
        ("num_workers", 0),
    ):
        value = getattr(data, key)
        if value is not None and value < lowest:
            raise UserError(f"data.{key}={value} must be at least {lowest}")


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file as plain data. Raises UserError where it is missing or not YAML."""
    try:
        return OmegaConf.to_container(OmegaConf.load(path))  # type: ignore[return-value]
    except FileNotFoundError:
        raise UserError(f"{path} is missing; write it with: python -m pipeline.params recipe=quick") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None


def load(overrides: typing.Sequence[str] = (), path: Path = FILE) -> Params:
    """params.yaml with ``section.key=value`` overrides, checked."""
    return validate(_override(read_yaml(path), overrides))


def _override(raw: dict[str, Any], overrides: typing.Sequence[str]) -> dict[str, Any]:
    """``raw`` with dotted overrides applied; lists replace lists."""
    for text in overrides:
        key, equals, value = text.partition("=")
        section, dot, name = key.partition(".")
        if not equals or not dot:
            raise UserError(f"{text!r} is not an override; write section.key=value, e.g. train.epochs=20")
        if section not in raw:
            raise UserError(f"{section} is an unknown section; {_suggest(section, raw)}")
        raw[section] = {**(raw[section] or {}), name: yaml.safe_load(value)}
    return raw


def compose(overrides: typing.Sequence[str]) -> Params:
    """A recipe of pipeline/conf, composed by Hydra, with overrides on top, checked."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException

    groups = [text for text in overrides if "." not in text.partition("=")[0]]
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = OmegaConf.to_container(hydra_compose("config", overrides=groups))
    except HydraException as error:
        known = sorted(path.stem for path in (CONF / "recipe").glob("*.yaml"))
        line = next(line for line in str(error).splitlines() if line)
        raise UserError(f"{' '.join(groups)}: {line} Recipes: {', '.join(known)}") from None
    return validate(
        _override(typing.cast("dict[str, Any]", config), [t for t in overrides if t not in groups])
    )


def to_yaml(params: Params) -> str:
    """params.yaml: complete, with every key's meaning beside it."""
    lines = [
        "# The parameters of the next run. Made by `python -m pipeline.params recipe=NAME`; yours to edit."
    ]
    for name, values in params.sections().items():
        schema = SECTIONS.get(name) or section_schema(values["method"])
        about = inspect.getdoc(SECTIONS.get(name) or METHODS[values["method"]]) or ""
        lines += ["", *(f"# {line}" for line in about.split("\n\n")[0].splitlines()), f"{name}:"]
        helps = {f.name: f.metadata.get("help") for f in dataclasses.fields(schema)}
        for key, value in values.items():
            dumped = yaml.safe_dump(value, default_flow_style=True, width=1000)
            text = f"  {key}: {dumped.removesuffix(YAML_END).strip()}"
            lines.append(f"{text:<44}  # {helps[key]}" if helps.get(key) else text)
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    """Write params.yaml from a recipe and print the difference to what was there."""
    new = to_yaml(compose(arguments))
    old = FILE.read_text() if FILE.exists() else ""
    diff = difflib.unified_diff(
        old.splitlines(), new.splitlines(), "params.yaml (before)", "params.yaml", lineterm=""
    )
    FILE.write_text(new)
    print("\n".join(diff) or "params.yaml: no change")


if __name__ == "__main__":
    from pipeline.cli import run_main

    run_main(main, __doc__, sys.argv[1:])
