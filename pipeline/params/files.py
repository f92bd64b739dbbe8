"""params.yaml and the recipes: the only module that reads or writes YAML.

It reads as DVC does, by ruamel.yaml and so by YAML 1.2: what a stage makes of ``[010]`` or ``on`` must be what the
matrix of dvc.yaml makes of it.
"""

import inspect
import io
import typing
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, YAMLError

from granet.common.files import atomic
from granet.common.keys import keys_of
from granet.methods import METHODS
from granet.models import plain
from granet.types import UserError
from pipeline.params.checks import check_grid, choose, suggest, validate
from pipeline.params.schema import SECTIONS, Params, section_schema

FILE = Path("params.yaml")
CONF = Path(__file__).parents[1] / "conf"
WIDTH = 44  # of a line up to its comment


def read_yaml(path: Path) -> Any:
    """A YAML file as plain data. Raises UserError where it is missing or not YAML."""
    anew = "write it with: python -m pipeline.params recipe=quick"
    if not path.is_file():
        raise UserError(f"{path} is {'a folder; move it, and' if path.is_dir() else 'missing;'} {anew}")
    try:
        return parse_yaml(path.read_text(encoding="utf-8-sig"))
    except (YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid YAML: {_what(error)}; mend that, or {anew}") from None


def _what(error: Exception) -> str:
    """What is wrong in a YAML text, and where, on one line."""
    if (mark := getattr(error, "problem_mark", None)) is None:
        return " ".join(str(error).split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {getattr(error, 'problem', '')}"


def parse_yaml(text: str) -> Any:
    """A YAML text as plain data: 1e-3 is a number, and a key that comes twice is an error."""
    return YAML(typ="safe", pure=True).load(text)  # its faults say more than those of the C library


def dump_yaml(value: Any) -> str:
    """A value on one line of YAML, which `parse_yaml` reads as the same value.

    >>> dump_yaml([0.9, "on", "1e3", None])
    "[0.9, 'on', '1e3', null]"
    """
    writer, text = YAML(typ="safe", pure=True), io.StringIO()
    writer.default_flow_style, writer.width = True, 1_000_000
    writer.dump(value, text)
    return text.getvalue().removesuffix("...\n").strip()  # the end mark behind a scalar


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
    """``recipe=NAME``, composed by Hydra from pipeline/conf, with ``section.key=value`` overrides on top; checked.

    A library's model may be written with a /, which becomes the point that names of stages and folders have.
    """
    import hydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    groups = [text for text in overrides if text.startswith("recipe=")]
    for text in groups:
        choose("recipe", text.partition("=")[2], recipes())
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            raw = OmegaConf.to_container(hydra.compose("config", overrides=groups))
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"{' '.join(groups)}: {' '.join(str(error).split())}") from None
    values = override(raw, [text for text in overrides if text not in groups])
    if isinstance(models := (values.get("grid") or {}).get("models"), list):
        values["grid"]["models"] = [plain(name) if isinstance(name, str) else name for name in models]
    params = validate(values)
    check_grid(params)
    return params


def override(raw: Any, overrides: Sequence[str]) -> dict[Any, Any]:
    """``raw`` with overrides applied: ``section.key=value``, or ``section={key: value}`` for several keys.

    A list replaces a list. Where the key is a text, the value is one, as it is written (`_value`). Raises UserError for
    any other text.
    """
    if not isinstance(raw, dict):
        raise UserError(f"{FILE} holds no sections; write one: python -m pipeline.params recipe=quick")
    changed = dict(raw)
    for text in overrides:
        key, equals, value = text.partition("=")
        section, dot, name = key.partition(".")
        if not equals:
            raise UserError(f"{text!r} is not an override; write section.key=value, e.g. train.epochs=20")
        if section not in changed:
            raise UserError(f"{section} is an unknown section; {suggest(section, changed)}")
        if not isinstance(values := changed[section] or {}, dict):
            raise UserError(f"{section}={values!r} must be a section of keys, not a value")
        try:
            new = {name: _value(section, values, name, value)} if dot else parse_yaml(value)
        except (YAMLError, ValueError, RecursionError):
            raise UserError(
                f"{text!r}: {value!r} is not a YAML value; quote it or close its brackets"
            ) from None
        if not isinstance(new, dict):
            raise UserError(f"{text!r} is not an override; write section.key=value, e.g. train.epochs=20")
        changed[section] = {**values, **new}
    return changed


def _value(section: str, values: dict[str, Any], name: str, text: str) -> Any:
    """What ``text`` means as a value of a key: YAML, but for a key whose values are texts, where it means itself.

    So `/data/my #1 set`, `007` and `on` arrive as they are written. Quotes around all of it are YAML's, and null is
    none where the key may have none.
    """
    schema = SECTIONS.get(section)
    if schema is None and values.get("method") in METHODS:
        schema = section_schema(values["method"])
    kind = typing.get_type_hints(schema).get(name) if schema else None
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    is_text = kind is str or (kind == str | None and text != "null")
    return text if is_text and not is_quoted else parse_yaml(text)


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
            text = f"  {key}: {dump_yaml(value)}"
            lines.append(f"{text:<{WIDTH}}  # {keys[key].text}" if key in keys and keys[key].text else text)
    return "\n".join(lines) + "\n"
