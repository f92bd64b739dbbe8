"""From plain data, as params.yaml holds it, to `Params`: keys, types and ranges of every section, one by one.

What a run makes of the values is not looked at here: see `pipeline.params.checks`.
"""

import dataclasses
import difflib
import inspect
import re
import typing
from collections.abc import Iterable
from functools import cache
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from granet.common.keys import check_keys
from granet.common.steps import parse_time
from granet.methods import INTERVAL, METHODS, TIME
from granet.types import UserError
from pipeline.params import sections
from pipeline.params.schema import SECTIONS, Params, section_schema

REQUIRED = {"grid": "grid: {seeds: [0]}", "train": "train: {epochs: 160}", "dense": "dense: {method: dense}"}
"""Sections without which nothing can run, and how the shortest of their kind looks."""

MANY_STEPS = 1_000_000
"""Of an epoch: an interval that is none even there is none in any run."""


def suggest(word: object, known: Iterable[str]) -> str:
    """What the user may have meant."""
    known = sorted(known)
    close = difflib.get_close_matches(str(word), known, n=1)
    return f"did you mean {close[0]}?" if close else f"choose from {', '.join(known)}"


def choose(key: str, value: Any, choices: Iterable[str]) -> None:
    """Raises UserError where ``value`` is none of ``choices``."""
    names = list(choices)
    if value not in names:
        raise UserError(f"{key}={value!r} is unknown; {suggest(value, names)}")


def validate(raw: dict[str, Any]) -> Params:
    """The parameters of all sections. Raises UserError, one line that names key and value, for the first fault."""
    for name, example in REQUIRED.items():
        if not isinstance(raw, dict) or name not in raw:
            raise UserError(
                f"params.yaml has no section {name}; add it, as {example}, or start from a recipe: "
                "python -m pipeline.params recipe=quick"
            )
    fixed = {name: section_of(name, schema, raw.get(name, {})) for name, schema in SECTIONS.items()}
    methods = {name: _method_section(name, raw) for name in raw if name not in SECTIONS}
    if (method := methods["dense"]["method"]) != "dense":
        raise UserError(f"dense.method={method!r} must be dense: other runs start from the dense network")
    return Params(**fixed, methods=methods)


def _method_section(name: str, raw: dict[str, Any]) -> dict[str, Any]:
    """A method section, completed by defaults. Intervals of bare steps get their unit."""
    values = raw[name]
    if not isinstance(values, dict) or "method" not in values:
        if name in METHODS:
            raise UserError(f"{name} names no method; write method: {name} below it")
        known = [
            *SECTIONS,
            *(other for other in raw if isinstance(raw[other], dict) and "method" in raw[other]),
        ]
        raise UserError(
            f"{name} is an unknown section; {suggest(name, known)} (a method section has a method key)"
        )
    if not re.fullmatch(r"\w[\w-]*", str(name)):
        raise UserError(f"{name!r} names a section and folders; write letters, digits, _ and - alone")
    choose(f"{name}.method", values["method"], METHODS)
    row = METHODS[values["method"]]
    section = section_of(name, section_schema(values["method"]), values)
    completed = dataclasses.asdict(section)
    for key in sections.keys(row, TIME):
        completed[key] = text = str(completed[key])
        if text != "auto" or inspect.signature(row).parameters[key].default is not None:
            parse_time(text, 1, key=f"{name}.{key}")
    for key in sections.keys(row, INTERVAL):
        text = str(completed[key])
        completed[key] = f"{text}it" if text.isdecimal() else text
        sections.interval(completed[key], MANY_STEPS, 1, f"{name}.{key}")
    check_keys(name, section)
    return completed


def section_of(name: str, schema: type, values: Any) -> Any:
    """``values`` as an instance of ``schema``. Raises UserError for an unknown key, a wrong type, or a bad value."""
    if values is None:
        raise UserError(f"{name}: is empty; write keys below it, or remove it")
    if not isinstance(values, dict):
        raise UserError(f"{name}={values!r} must be a section of keys, not a value")
    kinds = typing.get_type_hints(schema)
    for key in values:
        if key not in kinds:
            raise UserError(f"{name}.{key} is an unknown key; {suggest(key, kinds)}")
    return schema(**{key: typed(f"{name}.{key}", kinds[key], value) for key, value in values.items()})


def typed(name: str, kind: Any, value: Any) -> Any:
    """``value``, an int as a float where ``kind`` is one. Raises UserError, naming the key, for any other type.

    >>> typed("train.lr", float, 1)
    1.0
    """
    try:
        return _adapter(kind).validate_python(value, strict=True)
    except ValidationError as error:
        rules = dict.fromkeys(fault["msg"].removeprefix("Input should be ") for fault in error.errors())
        raise UserError(f"{name}={value!r} must be {' or '.join(rules)}") from None


@cache
def _adapter(kind: Any) -> TypeAdapter:
    return TypeAdapter(kind, config=ConfigDict(allow_inf_nan=False))
