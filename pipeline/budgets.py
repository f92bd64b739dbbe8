"""The budget of a network as CSV (Appendix D): weights, sparsity and FLOPs overall, of all convolutions, of each layer.

    python -m pipeline.budgets [model=resnet50] [image_size=224] [num_classes=1000] [sparsity=0.9] [distribution=erk]
    python -m pipeline.budgets method=SECTION [...]      what a section of params.yaml fixes before training
    python -m pipeline.budgets run=runs/STAGE/NAME       what a finished run has learnt
    python -m pipeline.budgets sweep=0,0.5,0.8 [...]     FLOPs of GraNet by initial sparsity: its ImageNet schedule

Every form takes out=FILE; without it the CSV is printed. Layers that a run learns are not known before it: method=
refuses such a section, and the sweep counts under two assumptions on them, erk and uniform: its column "assumed".
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import torch

from granet.common.files import atomic
from granet.distributions import preserve
from granet.inits.random import Highest
from granet.maskable import maskable_weights
from granet.masks import layer_sparsity, num_active
from granet.method import Method
from granet.methods import LAYER_SPARSITIES
from granet.models import build
from granet.studies.budget import Budget
from granet.types import InitContext, UserError
from pipeline.cli import parse, run_main
from pipeline.params.checks import choose
from pipeline.params.files import load
from pipeline.report.paper.sweep import Planned, sweep
from pipeline.report.tables.budgets import COLUMNS, csv_text, outline_of, rows_of
from pipeline.training.folder import RunFolder

DEFAULTS = {"model": "resnet50", "image_size": "224", "num_classes": "1000", "sparsity": "0.9"}
KEYS = (*DEFAULTS, "distribution", "method", "run", "sweep", "out")


def budget_of_run(folder: RunFolder) -> Budget:
    """The budget of a finished run. Raises UserError where its files are missing or do not belong together."""
    if not folder.is_finished:
        raise UserError(f"run={folder.path} holds no finished run; give a folder such as runs/sparse/NAME")
    summary = folder.summary
    network = outline_of(summary.config["model"], summary.num_classes, summary.image_shape)
    if network.dense.total != summary.flops["inference_dense"]:
        raise UserError(
            f"run={folder.path} has other dense FLOPs than its network: it is of another version; "
            f"{folder.remedy}"
        )
    return network.at(summary.layer_sparsity)


def fixed_layers(section: str, method: Method, model: str, num_classes: int) -> dict[str, float]:
    """The layer sparsities that a method fixes before training. Raises UserError where training decides them."""
    learns = UserError(
        f"method={section}: its layer sparsities come from training or from images; "
        "give run=FOLDER of a finished run, or distribution=erk"
    )
    prune, regenerate = method.prune, method.regenerate
    if method.family == "after_training":
        raise learns
    if regenerate is not None and regenerate.reallocate is not preserve:
        raise learns
    if method.init is None:
        return {}
    network = build(model, num_classes=num_classes)
    weights = maskable_weights(network)
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    everything = {name: torch.ones(shape, dtype=torch.bool) for name, shape in shapes.items()}
    try:
        if prune is not None:
            return layer_sparsity(prune.distribution({}, everything, prune.sf), shapes)
        if isinstance(init := method.init, Highest):
            return layer_sparsity(init.distribution({}, everything, init.sparsity), shapes)
        return layer_sparsity(num_active(method.init(InitContext(network, weights, seed=0))), shapes)
    except (KeyError, UserError):  # where scores or images decide, there are none
        raise learns from None


def csv_of(budget: Budget) -> str:
    """A row per layer below the two totals. Sparsities are fractions, FLOPs those of one image.

    >>> csv_of(Budget([])).splitlines()[1]
    'overall,,0,0,0.0,0,0,1.0'
    """
    return csv_text(COLUMNS, rows_of(budget))


def _sweep_csv(planned: list[Planned]) -> str:
    columns = [field.name for field in dataclasses.fields(Planned)]
    rows = (
        [round(value, 4) if isinstance(value, float) else value for value in dataclasses.astuple(one)]
        for one in planned
    )
    return csv_text(columns, rows)


def _numbers(kind: type, key: str, text: str) -> list[Any]:
    """One number, or several with commas between them; brackets are allowed."""
    try:
        return [kind(part) for part in text.strip("[]").split(",")]
    except ValueError:
        raise UserError(
            f"{key}={text!r} is not valid: write numbers, e.g. {key}={DEFAULTS.get(key, '0,0.5')}"
        ) from None


def _parsed(arguments: list[str]) -> dict[str, str]:
    request, _ = parse(arguments, KEYS, "pipeline.budgets")
    chosen = [key for key in ("distribution", "method", "run", "sweep") if key in request]
    if len(chosen) > 1:
        raise UserError(f"{chosen[0]}= and {chosen[1]}= exclude each other; give one of them")
    if "run" in request and (others := [key for key in DEFAULTS if key in request]):
        raise UserError(f"{others[0]}= does not go with run=: the run says it itself; leave it out")
    return request


def _single(kind: type, key: str, values: dict[str, str], lowest: float) -> Any:
    """One number, not below ``lowest``."""
    first, *others = _numbers(kind, key, values[key])
    if others or first < lowest:
        raise UserError(f"{key}={values[key]!r} must be one number of at least {lowest}")
    return first


def csv_for(request: dict[str, str]) -> str:
    """The CSV that a command line asks for."""
    if "run" in request:
        return csv_of(budget_of_run(RunFolder(Path(request["run"]))))
    values = DEFAULTS | request
    model, sparsity = values["model"], _single(float, "sparsity", values, 0)
    num_classes, size = _single(int, "num_classes", values, 1), _single(int, "image_size", values, 32)
    network = outline_of(model, num_classes, (3, size, size))
    if "sweep" in request:
        return _sweep_csv(sweep(network, _numbers(float, "sweep", request["sweep"]), sparsity))
    if "method" in request:
        section, params = request["method"], load()
        choose("method", section, params.methods)
        method = params.method(section, sparsity, steps_per_epoch=1000)
        return csv_of(network.at(fixed_layers(section, method, model, num_classes)))
    distribution = request.get("distribution", "erk")
    choose("distribution", distribution, LAYER_SPARSITIES)
    return csv_of(network.at(LAYER_SPARSITIES[distribution](network.shapes, sparsity)))


def main(arguments: list[str]) -> None:
    """Write or print the CSV."""
    request = _parsed(arguments)
    text = csv_for(request)
    if "out" not in request:
        print(text, end="")
        return
    out = Path(request["out"])
    atomic(out, text.encode())
    print(f"{out}: {len(text.splitlines()) - 1} rows")


if __name__ == "__main__":
    run_main(main, __doc__, sys.argv[1:])
