"""One schema for params.yaml and the command line; the only module that reads or writes YAML.

    python -m pipeline.params recipe=quick [key=value ...]     write params.yaml from a recipe, show what changed

Recipes lie in pipeline/conf/recipe. Every other key is one of params.yaml, e.g. grid.seeds=[0,1,2] granet.si=0.5.
"""

import dataclasses
import difflib
import inspect
import typing
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from granet.common.keys import keys_of
from granet.methods import METHODS
from granet.types import UserError
from pipeline.params.checks import check_data, check_grid, choose, suggest
from pipeline.params.schema import SECTIONS, Params, complete, section_schema

FILE = Path("params.yaml")
CONF = Path(__file__).parents[1] / "conf"
YAML_END = "...\n"  # PyYAML's end mark behind a scalar


def _check_section(name: str, schema: type, values: Any) -> Any:
    """``values`` as an instance of ``schema``; one clear line for an unknown key or a wrong type."""
    if not isinstance(values, dict):
        raise UserError(f"{name}={values!r} must be a section of keys, not a value")
    known = [f.name for f in dataclasses.fields(schema)]
    for key in values:
        if key not in known:
            raise UserError(f"{name}.{key} is an unknown key; {suggest(str(key), known)}")
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), values))
    except OmegaConfBaseException as error:
        raise _fault(name, schema, values, error) from None


def _fault(name: str, schema: type, values: dict[str, Any], error: OmegaConfBaseException) -> UserError:
    """The first key of a section whose value OmegaConf refuses."""
    for key, value in values.items():
        try:
            merged = OmegaConf.merge(OmegaConf.structured(schema), {key: value})
            OmegaConf.to_container(merged, resolve=True)
        except OmegaConfBaseException as found:
            reason = str(found.__cause__ or found).splitlines()[0]
            return UserError(f"{name}.{key}={value!r} is not valid: {reason}")
    return UserError(f"{name} is not valid: {str(error).splitlines()[0]}")


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
                f"{name} is an unknown section; {suggest(name, choices)} (a method section has a method key)"
            )
        choose(f"{name}.method", values["method"], METHODS)
        checked = _check_section(name, section_schema(values["method"]), values)
        methods[name] = complete(name, dataclasses.asdict(checked))
    fixed = {name: _check_section(name, schema, raw.get(name, {})) for name, schema in SECTIONS.items()}
    params = Params(**fixed, methods=methods)
    check_data(params.data)
    check_grid(params)
    return params


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file as plain data. Raises UserError where it is missing or not YAML."""
    try:
        return OmegaConf.to_container(OmegaConf.load(path))  # type: ignore[return-value]
    except FileNotFoundError:
        raise UserError(f"{path} is missing; write it with: python -m pipeline.params recipe=quick") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None


@cache
def section_texts() -> dict[str, dict[str, Any]]:
    """What conf/sections.yaml says of the recipes' sections: section -> key -> text, or values."""
    return read_yaml(CONF / "sections.yaml")


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
            raise UserError(f"{section} is an unknown section; {suggest(section, raw)}")
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
        about = [
            *about.split("\n\n")[0].splitlines(),
            *section_texts().get(name, {}).get("about", "").splitlines(),
        ]
        lines += ["", *(f"# {line}" for line in about), f"{name}:"]
        helps = {key: about.text for key, about in keys_of(schema).items()}
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
