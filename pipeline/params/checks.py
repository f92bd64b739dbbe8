"""What can be wrong with a run, or with the grid of all runs, as far as it shows before any work. The first fault."""

import dataclasses
from collections.abc import Iterator
from itertools import product
from typing import Any

from granet.clock import Clock
from granet.common.keys import keys_of
from granet.data import DATASETS
from granet.models import MODELS
from granet.studies.plasticity import parse_network
from granet.types import UserError
from pipeline.params.schema import REWINDS, GridConfig, Params
from pipeline.params.validation import choose

MAY_BE_EMPTY = ("methods", "after", "reinit", "retrain", "rewinds", "pretrain", "export")
"""Lists of the grid without which there is still a dense run; their stages are then none."""
MAKES_MASKS = {"reinit": "methods", "retrain": "methods", "export": "pretrain"}
"""Lists of the grid whose entries start from runs of another list."""


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


def check_run(
    params: Params,
    *,
    stage: str,
    dataset: str,
    model: str,
    seed: int = 0,
    method: str | None = None,
    sparsity: float | None = None,
    network: str | None = None,
    rewind: str | None = None,
) -> None:
    """Everything that can be wrong with one run, and nothing that it does not read.

    The keys are those of its cell; None: its stage has no such key. Raises UserError with the first fault.
    """
    choose("dataset", dataset, DATASETS)
    choose("model", model, MODELS)
    for name, value, entries in (("seed", seed, "seeds"), ("sparsity", sparsity, "sparsities")):
        keys_of(GridConfig)[entries].check(name, value)
    if rewind is not None:
        choose("rewind", rewind, REWINDS)
    steps = steps_per_epoch(params, dataset)
    if method is not None and sparsity is not None:
        _check_method(params, stage, method, sparsity, steps)
    if network is not None:
        parse_network(network)
        _check_study(params, stage)


def _check_method(params: Params, stage: str, section: str, sparsity: float, steps: int) -> None:
    """Whether the stage trains such a section, and at such a sparsity.

    The stages that retrain a mask read nothing of the section: its own run has been checked.
    """
    choose(
        "method", section, [name for name, values in params.methods.items() if values["method"] != "dense"]
    )
    right = params.stage_of(section)
    if stage in ("sparse", "after") and stage != right:
        raise UserError(
            f"method={section!r} belongs to the {right} stage; run: python -m pipeline.train {right} ..."
        )
    if stage == right:
        _check_times(params, section, sparsity, steps)
    elif right == "after":
        raise UserError(f"method={section!r} belongs to the after stage; {stage} starts from a run of sparse")


def _check_times(params: Params, section: str, sparsity: float, steps: int) -> None:
    """Whether a section's points in time and its interval fit its run of ``steps`` per epoch."""
    method = params.method(section, sparsity, steps)
    total = params.train_config(section).total_epochs * steps * method.rounds
    try:
        clock = Clock(method, total)
    except UserError as error:
        raise UserError(f"{section}: {error}") from None
    if clock.interval and not any(map(clock.updates_at, range(clock.interval, total + 1, clock.interval))):
        text = params.methods[section]["update_interval"]
        raise UserError(
            f"{section}.update_interval={text}: no mask update falls into the run of {total} steps; "
            "lower it, train longer, or write auto"
        )


def _check_study(params: Params, stage: str) -> None:
    """Whether a run of the plasticity study has the epochs after which it is pruned, and the one process it can use."""
    if stage == "plasticity" and params.train.num_processes > 1:
        raise UserError(
            f"train.num_processes={params.train.num_processes}: the plasticity stage is one process, which branches "
            "through all of its grid; write 1"
        )
    last = params.train.total_epochs - 1
    if stage != "export" and (late := [epoch for epoch in params.plasticity.epochs if epoch > last]):
        raise UserError(
            f"plasticity.epochs={params.plasticity.epochs}: {late[0]} is not before the end of training, "
            f"train.epochs={last + 1}; write epochs up to {last}"
        )


def check_grid(params: Params) -> None:
    """The rules of the grid's lists, and `check_run` of every cell. Raises UserError with the first fault."""
    grid = params.grid
    for name, entries in dataclasses.asdict(grid).items():
        if not entries and name not in MAY_BE_EMPTY:
            raise UserError(f"grid.{name}=[] is empty: nothing would run; give it at least one entry")
        if len(set(entries)) < len(entries):
            raise UserError(f"grid.{name}={entries} names an entry twice; remove one")
    for name in ("methods", "after"):
        for section in getattr(grid, name):
            _check_list(params, name, section)
    for name, other in MAKES_MASKS.items():
        for entry in getattr(grid, name):
            if entry not in getattr(grid, other):
                raise UserError(
                    f"grid.{name}={entry!r} is not in grid.{other}={getattr(grid, other)}, whose runs it starts "
                    "from; add it there or remove it here"
                )
    for text in grid.pretrain:
        parse_network(text, key="grid.pretrain")
    for run in _runs(grid):
        check_run(params, **run)


def _check_list(params: Params, name: str, section: str) -> None:
    """Whether an entry of grid.methods or grid.after is a section that belongs there."""
    known = [other for other, values in params.methods.items() if values["method"] != "dense"]
    choose(f"grid.{name}", section, known)
    right, starts = {
        "sparse": ("methods", "scratch"),
        "after": ("after", "the trained dense network"),
    }[params.stage_of(section)]
    if name != right:
        raise UserError(f"grid.{name}={section!r}: {section} starts from {starts}; move it to grid.{right}")


def _runs(grid: GridConfig) -> Iterator[dict[str, Any]]:
    """The keys of every cell of the grid but the seed, which no check depends on."""
    methods = {"sparse": grid.methods, "after": grid.after, "reinit": grid.reinit, "retrain": grid.retrain}
    networks = {"pretrain": grid.pretrain, "plasticity": grid.pretrain, "export": grid.export}
    for dataset, model in product(grid.datasets, grid.models):
        cell = {"dataset": dataset, "model": model}
        yield {"stage": "dense", **cell}
        for stage, sections in methods.items():
            for section, sparsity in product(sections, grid.sparsities):
                yield {"stage": stage, **cell, "method": section, "sparsity": sparsity}
        for stage, entries in networks.items():
            yield from ({"stage": stage, **cell, "network": network} for network in entries)
