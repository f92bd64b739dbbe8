"""params.yaml and the recipes: the only module that reads or writes YAML."""

import inspect
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from granet.common.files import atomic
from granet.common.keys import keys_of
from granet.methods import METHODS
from granet.types import UserError
from pipeline.params.checks import check_grid, choose, suggest, validate
from pipeline.params.schema import SECTIONS, Params, section_schema

FILE = Path("params.yaml")
CONF = Path(__file__).parents[1] / "conf"
WIDTH = 44  # of a line up to its comment


def read_yaml(path: Path) -> Any:
    """A YAML file as plain data. Raises UserError where it is missing or not YAML."""
    try:
        return OmegaConf.to_container(OmegaConf.load(path))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; write it with: python -m pipeline.params recipe=quick") from None
    except (yaml.YAMLError, OmegaConfBaseException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None


def parse_yaml(text: str) -> Any:
    """A YAML text as plain data: 1e-3 is a number, and a key that comes twice is an error."""
    return OmegaConf.to_container(OmegaConf.create(text))


@cache
def section_texts() -> dict[str, dict[str, Any]]:
    """What conf/sections.yaml says of the recipes' sections: section -> key -> text, or values."""
    return read_yaml(CONF / "sections.yaml")


def recipes() -> list[str]:
    """The recipes of pipeline/conf by name; a file whose name begins with _ is a part of several."""
    return sorted(path.stem for path in (CONF / "recipe").glob("[!_]*.yaml"))


def load(overrides: Sequence[str] = ()) -> Params:
    """params.yaml with ``section.key=value`` overrides: keys, types and ranges are checked, the grid's runs are not."""
    return validate(override(read_yaml(FILE), overrides))


def load_grid(overrides: Sequence[str] = ()) -> Params:
    """`load`, and a check of every run of the grid: for commands that start or read all of them."""
    params = load(overrides)
    check_grid(params)
    return params


def compose(overrides: Sequence[str]) -> Params:
    """``recipe=NAME``, composed by Hydra from pipeline/conf, with ``section.key=value`` overrides on top; checked."""
    import hydra
    from hydra.errors import HydraException

    groups = [text for text in overrides if "." not in text.partition("=")[0]]
    for text in groups:
        choose(text.partition("=")[0], text.partition("=")[2], recipes())
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            raw = OmegaConf.to_container(hydra.compose("config", overrides=groups))
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"{' '.join(groups)}: {' '.join(str(error).split())}") from None
    params = validate(override(raw, [text for text in overrides if text not in groups]))
    check_grid(params)
    return params


def override(raw: Any, overrides: Sequence[str]) -> dict[Any, Any]:
    """``raw`` with ``section.key=value`` texts applied; a list replaces a list. Raises UserError for any other text."""
    if not isinstance(raw, dict):
        raise UserError(f"{FILE} holds no sections; write one: python -m pipeline.params recipe=quick")
    changed = dict(raw)
    for text in overrides:
        key, equals, value = text.partition("=")
        section, dot, name = key.partition(".")
        if not equals or not dot:
            raise UserError(f"{text!r} is not an override; write section.key=value, e.g. train.epochs=20")
        if section not in changed:
            raise UserError(f"{section} is an unknown section; {suggest(section, changed)}")
        if not isinstance(values := changed[section] or {}, dict):
            raise UserError(f"{section}={values!r} must be a section of keys, not a value")
        try:
            changed[section] = {**values, name: parse_yaml(f"value: {value}")["value"]}
        except (yaml.YAMLError, OmegaConfBaseException):
            raise UserError(
                f"{text!r}: {value!r} is not a YAML value; quote it or close its brackets"
            ) from None
    return changed


def write(params: Params) -> None:
    """Write params.yaml, whole or not at all."""
    atomic(FILE, to_yaml(params).encode())


def to_yaml(params: Params) -> str:
    """params.yaml: complete, with every key's meaning beside it."""
    lines = [
        "# The parameters of the next run. Made by `python -m pipeline.params recipe=NAME`; yours to edit."
    ]
    for name, values in params.sections().items():
        schema = SECTIONS.get(name) or section_schema(values["method"])
        doc = inspect.getdoc(SECTIONS.get(name) or METHODS[values["method"]]) or ""
        about = section_texts().get(name, {}).get("about", "")
        lines += ["", *(f"# {line}" for line in [*doc.split("\n\n")[0].splitlines(), *about.splitlines()])]
        lines.append(f"{name}:")
        keys = keys_of(schema)
        for key, value in values.items():
            dumped = yaml.safe_dump(value, default_flow_style=True, width=1000)
            text = f"  {key}: " + dumped.removesuffix("...\n").strip()  # PyYAML's end mark behind a scalar
            lines.append(f"{text:<{WIDTH}}  # {keys[key].text}" if key in keys and keys[key].text else text)
    return "\n".join(lines) + "\n"
