"""One schema for params.yaml and the command line; the only module that reads or writes YAML.

    python -m pipeline.params recipe=quick [key=value ...]     write params.yaml from a recipe, show what changed

Recipes lie in pipeline/conf/recipe. Every other key is one of params.yaml, e.g. grid.seeds=[0,1,2] granet.si=0.5.
"""

import dataclasses
import difflib
import inspect
import sys
import typing
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from granet.data import DATASETS, LOADERS
from granet.methods import METHODS
from granet.models import MODELS
from granet.retrain import REWINDS
from granet.types import UserError
from pipeline.schema import SECTIONS, DataConfig, Params, section_schema

FILE = Path("params.yaml")
CONF = Path(__file__).parent / "conf"
YAML_END = "...\n"  # PyYAML's end mark behind a scalar


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
            OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), {key: value}))
        except UserError:
            continue  # the values of a section are judged together below
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
    if not isinstance(raw, dict) or not {"grid", "train"} <= set(raw):
        raise UserError(
            "params.yaml has no sections grid and train; write it: python -m pipeline.params recipe=quick"
        )
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
    _check_data(params.data)
    _check_grid(params)
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
        if len(set(map(str, values))) < len(values):
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
        if not 0 < sparsity < 1:
            raise UserError(
                f"grid.sparsities={sparsity} must lie in (0, 1): 0.9 for 90 %; 0 is the dense stage"
            )
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
    if data.train_size is not None:
        return -(-data.train_size // params.train.batch_size)
    held_out = row.val_size if data.val_size is None else data.val_size
    num_train = (row.num_train or 1_000_000) - held_out
    if num_train < 1:
        raise UserError(
            f"data.val_size={held_out} leaves none of {dataset}'s {row.num_train} images to train on"
        )
    return -(-num_train // params.train.batch_size)


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
    except (yaml.YAMLError, UnicodeDecodeError) as error:
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
        try:
            raw[section] = {**(raw[section] or {}), name: yaml.safe_load(value)}
        except yaml.YAMLError:
            raise UserError(
                f"{text!r}: {value!r} is not a YAML value; quote it or close its brackets"
            ) from None
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
