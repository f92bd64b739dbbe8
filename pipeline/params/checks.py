"""What can be checked of params.yaml before any work, beyond keys and types. One line for the first fault."""

import dataclasses
import difflib
from collections.abc import Iterable
from itertools import product
from typing import Any

from granet.clock import Clock
from granet.data import DATASETS, LOADERS
from granet.method import Method
from granet.models import MODELS
from granet.studies.plasticity import parse_network
from granet.types import UserError
from pipeline.params.schema import DataConfig, Params

REWINDS = ("lth", "lrr")
MAY_BE_EMPTY = ("methods", "after", "reinit", "retrain", "rewinds", "pretrain", "export")
"""Lists of the grid without which there is still a dense run; their stages are then none."""


def suggest(word: str, known: Iterable[str]) -> str:
    """What the user may have meant."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]}?" if close else f"choose from {', '.join(known)}"


def choose(key: str, value: Any, choices: Iterable[str]) -> None:
    """Raises UserError where ``value`` is none of ``choices``."""
    if value not in (names := list(choices)):
        raise UserError(f"{key}={value!r} is unknown; {suggest(str(value), names)}")


def steps_per_epoch(params: Params, dataset: str) -> int:
    """Optimizer steps per epoch, as far as the parameters tell before the data is read."""
    row, data = DATASETS[dataset], params.data
    if data.train_size is not None:
        return -(-data.train_size // params.train.batch_size)
    held_out = row.val_size if data.val_size is None else data.val_size
    num_train = (row.num_train or 1_000_000) - held_out  # an imagefolder tells only when it is read
    if num_train < 1:
        raise UserError(
            f"data.val_size={held_out} leaves none of {dataset}'s {row.num_train} images to train on"
        )
    return -(-num_train // params.train.batch_size)


def check_data(data: DataConfig) -> None:
    """Ranges of the data section."""
    choose("data.loader", data.loader, LOADERS)
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


def check_grid(params: Params) -> None:
    """Every entry of the grid exists, and every method of it fits the run it asks for."""
    grid = params.grid
    for key, values in dataclasses.asdict(grid).items():
        if not values and key not in MAY_BE_EMPTY:
            raise UserError(f"grid.{key}=[] is empty: nothing would run; give it at least one entry")
        if len(set(map(str, values))) < len(values):
            raise UserError(f"grid.{key}={values} names an entry twice; remove one")
    sections = [name for name, section in params.methods.items() if section["method"] != "dense"]
    for key, choices in (
        ("datasets", DATASETS),
        ("models", MODELS),
        ("methods", sections),
        ("after", sections),
        ("rewinds", REWINDS),
    ):
        for value in getattr(grid, key):
            choose(f"grid.{key}", value, choices)
    for key in ("reinit", "retrain"):
        if strangers := [value for value in getattr(grid, key) if value not in grid.methods]:
            raise UserError(
                f"grid.{key}={strangers[0]!r} is not in grid.methods={grid.methods}, which makes its masks; "
                "add it there or remove it here"
            )
    for sparsity in grid.sparsities:
        if not 0 < sparsity < 1:
            raise UserError(
                f"grid.sparsities={sparsity} must lie in (0, 1): 0.9 for 90 %; 0 is the dense stage"
            )
    for seed in grid.seeds:
        if seed < 0:
            raise UserError(f"grid.seeds={seed} must be 0 or more")
    _check_study(params)
    for dataset, sparsity in product(grid.datasets, grid.sparsities):
        steps = steps_per_epoch(params, dataset)
        for key in ("methods", "after"):
            for section in getattr(grid, key):
                method = params.method(section, sparsity, steps)
                _check_family(f"grid.{key}", section, method)
                _check_times(params, section, method, steps)


def _check_study(params: Params) -> None:
    """The networks of the plasticity study, and its epochs."""
    grid = params.grid
    for text in grid.pretrain:
        parse_network(text, key="grid.pretrain")
    if strangers := [text for text in grid.export if text not in grid.pretrain]:
        raise UserError(
            f"grid.export={strangers[0]!r} is not in grid.pretrain={grid.pretrain}, which trains it; "
            "add it there or remove it here"
        )
    last = params.train.total_epochs - 1
    if grid.pretrain and (late := [epoch for epoch in params.plasticity.epochs if epoch > last]):
        raise UserError(
            f"plasticity.epochs={params.plasticity.epochs}: {late[0]} is not before the end of training, "
            f"train.epochs={last + 1}; write epochs up to {last}"
        )


def _check_family(key: str, section: str, method: Method) -> None:
    right = "grid.after" if method.family == "after_training" else "grid.methods"
    if key != right:
        starts = "the trained dense network" if right == "grid.after" else "scratch"
        raise UserError(f"{key}={section!r}: {section} starts from {starts}; move it to {right}")


def _check_times(params: Params, section: str, method: Method, steps: int) -> None:
    """Whether the method's points in time and its interval fit the run."""
    total = params.train_config(section).total_epochs * steps * method.rounds
    try:
        clock = Clock(method, total)
    except UserError as error:
        raise UserError(f"{section}: {error}") from None
    if clock.interval and not any(
        clock.updates_at(step) for step in range(clock.interval, total + 1, clock.interval)
    ):
        text = params.methods[section]["update_interval"]
        raise UserError(
            f"{section}.update_interval={text}: no mask update falls into the run of {total} steps; "
            "lower it, train longer, or write auto"
        )
