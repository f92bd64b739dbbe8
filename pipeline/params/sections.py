"""What a method section of params.yaml means in a run of a given length: texts become optimizer steps.

Unlike the rest of this package it decides results, so that it counts as code of every training run.
"""

import dataclasses
import inspect
import typing
from collections.abc import Callable
from typing import Any

from granet.common.keys import Key
from granet.common.steps import parse_time
from granet.criteria import momentum
from granet.method import Method
from granet.methods import INTERVAL, METHODS, TIME
from granet.methods.layer_sparsity import with_layer_sparsity
from granet.methods.parameters import Updates
from granet.training.config import TrainConfig
from granet.types import UserError

Row = Callable[..., Method]
Values = dict[str, Any]
UPDATES = 56
"""Mask updates that update_interval: auto leaves a short run: as many as 1000 steps make of the paper's 160 epochs."""


def notes(row: Row) -> dict[str, tuple]:
    """What `granet.methods` says of each parameter of a row: the metadata of its annotation."""
    hints = typing.get_type_hints(row, include_extras=True)
    return {name: getattr(hint, "__metadata__", ()) for name, hint in hints.items()}


def keys(row: Row, kind: str) -> list[str]:
    """The parameters of a row that are a TIME or an INTERVAL."""
    return [name for name, metadata in notes(row).items() if kind in metadata]


def words(row: Row, name: str) -> tuple[str, ...]:
    """What a parameter of a row may be beside a number."""
    return next((note.choices for note in notes(row)[name] if isinstance(note, Key)), ())


def check_time(row: Row, name: str, text: str, key: str) -> None:
    """Raises UserError where ``text`` is neither a point in time, nor a word that the parameter may be."""
    others = words(row, name)
    if others and not text[:1].isdigit():
        if text not in others:
            raise UserError(
                f'{key}={text!r} must be {", ".join(others)} or a point in time, as "5ep" or "100it"'
            )
    elif text != "auto" or inspect.signature(row).parameters[name].default is not None:
        parse_time(text, 1, key=key)


def train_config(train: TrainConfig, values: Values) -> TrainConfig:
    """How a section trains: its extension on top of the common one."""
    return dataclasses.replace(train, extend=train.extend * values.get("extend", 1.0))


def method(
    section: str,
    values: Values,
    train: TrainConfig,
    sparsity: float,
    steps_per_epoch: int,
    begun: float | None = None,
) -> Method:
    """The method of a section, with its points in time and its interval in optimizer steps.

    An extended run moves its points in time by its factor, as it does the drops of lr; the interval stays, and so does
    the "auto" of a short run. ``begun``: the sparsity of the network that a chain goes on from. Raises UserError for
    values that the method cannot have, or not in such a run.
    """
    row = METHODS[values["method"]]
    parameters = inspect.signature(row).parameters
    epochs = train_config(train, values).total_epochs
    arguments = {name: value for name, value in values.items() if name not in ("method", "extend")}
    for name in keys(row, TIME):
        if (text := arguments[name]) == "auto":
            arguments[name] = None
        elif text not in words(row, name):
            steps = parse_time(text, steps_per_epoch, key=f"{section}.{name}")
            arguments[name] = round(epochs / train.epochs * steps)
    for name in keys(row, INTERVAL):
        total, own = train.epochs * steps_per_epoch, parameters[name].default
        fixed = next((note.number for note in notes(row)[name] if isinstance(note, Updates)), None)
        auto = max(1, total // fixed) if fixed else min(own, max(1, total // UPDATES))
        arguments[name] = interval(arguments[name], steps_per_epoch, auto, f"{section}.{name}")
    if arguments.get("si", 0) > 0 and arguments["tf"] is None and train.drops:
        arguments["tf"] = round(min(train.drops) * epochs * steps_per_epoch)
    if "sf" in parameters:
        arguments["sf"] = sparsity
    if begun is not None:
        arguments["begun"] = begun
    try:
        return with_layer_sparsity(row(**arguments), train.layer_sparsity)
    except UserError as error:
        raise UserError(f"{section} at sparsity {sparsity}: {error}") from None


def interval(text: str, steps_per_epoch: int, auto: int, key: str) -> int:
    """Optimizer steps between two mask updates, e.g. "1ep". Raises UserError where these are less than one."""
    if text == "auto":
        return auto
    try:
        steps = parse_time(text, steps_per_epoch, key=key)
    except UserError:
        raise UserError(
            f'{key}={text!r} is no interval: write steps as "1000it", epochs as "1ep", or auto'
        ) from None
    if steps < 1:
        raise UserError(f"{key}={text!r} is less than one optimizer step; write at least 1it")
    return steps


def check_training(section: str, method: Method, train: TrainConfig) -> None:
    """Raises UserError where a method cannot be trained as ``train`` says."""
    if momentum in method.criteria and not train.has_momentum:
        raise UserError(f"train.momentum=0.0: {section} grows by the optimizer's momentum; set it above 0")
    if method.projection.keeps_values and train.kernels == "sparse":
        raise UserError(
            f"train.kernels='sparse': {section} masks in the forward, and its masked weights keep their values; "
            "write auto or dense"
        )
