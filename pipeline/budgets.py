"""The budget of a network as CSV (Appendix D): weights, sparsity and FLOPs overall, of all convolutions, of each layer.

    python -m pipeline.budgets [model=resnet50] [image_size=224] [num_classes=1000] [sparsity=0.9] [distribution=erk]
    python -m pipeline.budgets method=SECTION [...]      what a section of params.yaml fixes before training
    python -m pipeline.budgets run=runs/STAGE/NAME       what a finished run has learnt
    python -m pipeline.budgets sweep=0,0.5,0.8 [...]     FLOPs of GraNet by initial sparsity: its ImageNet schedule

Every form takes out=FILE; without it the CSV is printed. Layers that a run learns are not known before it: method=
refuses such a section, and the sweep counts under two assumptions on them, erk and uniform: its column "assumed".
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from granet.common.files import atomic
from granet.distributions import preserve
from granet.inits.random import Highest
from granet.maskable import EVERY_LAYER, Choice
from granet.masks import layer_sparsity, num_active
from granet.method import Method
from granet.methods import LAYER_SPARSITIES
from granet.models import build
from granet.studies.budget import Budget
from granet.types import InitContext, UserError
from pipeline.cli import parse, run_main
from pipeline.params.checks import choose
from pipeline.params.files import load
from pipeline.report.paper.costs import outline_of, sweep
from pipeline.report.tables.budgets import COLUMNS, csv_text, rows_of
from pipeline.training.folder import RunFolder

DEFAULTS = {"model": "resnet50", "image_size": "224", "num_classes": "1000", "sparsity": "0.9"}
FORMS = ("distribution", "method", "run", "sweep")


def main(arguments: list[str]) -> None:
    """Write or print the CSV."""
    request, _ = parse(arguments, (*DEFAULTS, *FORMS, "out"), "pipeline.budgets")
    chosen = [key for key in FORMS if key in request]
    if len(chosen) > 1:
        raise UserError(f"{chosen[0]}= and {chosen[1]}= exclude each other; give one of them")
    if "run" in request and (others := [key for key in DEFAULTS if key in request]):
        raise UserError(f"{others[0]}= does not go with run=: the run says it itself; leave it out")
    text = csv_text(*_columns_and_rows(request))
    if "out" in request:
        atomic(Path(request["out"]), text.encode())
        print(f"{request['out']}: {len(text.splitlines()) - 1} rows")
    else:
        print(text, end="")


def _columns_and_rows(request: dict[str, str]) -> tuple[Iterable[str], Iterable[Iterable[object]]]:
    """What a command line asks for. Sparsities are fractions, FLOPs those of one image."""
    if "run" in request:
        return COLUMNS, rows_of(budget_of_run(RunFolder(Path(request["run"]))))
    values = DEFAULTS | request
    sparsity = _number(float, "sparsity", values, 0)
    num_classes, size = _number(int, "num_classes", values, 1), _number(int, "image_size", values, 32)
    network = outline_of(values["model"], num_classes, (3, size, size))
    if "sweep" in request:
        planned = sweep(network, _numbers(float, "sweep", request["sweep"]), sparsity)
        rows = [vars(one).values() for one in planned]
        rounded = ([round(value, 4) if isinstance(value, float) else value for value in row] for row in rows)
        return vars(planned[0]), rounded
    if "method" in request:
        section, params = request["method"], load()
        choose("method", section, params.methods)
        method = params.method(section, sparsity, steps_per_epoch=1000)
        layers = fixed_layers(section, method, values["model"], num_classes, params.train.choice, size)
    else:
        distribution = request.get("distribution", "erk")
        choose("distribution", distribution, LAYER_SPARSITIES)
        layers = LAYER_SPARSITIES[distribution](network.shapes, sparsity)
    return COLUMNS, rows_of(network.at(layers))


def _numbers(kind: type, key: str, text: str) -> list[Any]:
    """One number, or several with commas between them; brackets are allowed."""
    try:
        return [kind(part) for part in text.strip("[]").split(",")]
    except ValueError:
        example = DEFAULTS.get(key, "0,0.5")
        raise UserError(f"{key}={text!r} is not valid: write numbers, e.g. {key}={example}") from None


def _number(kind: type, key: str, values: dict[str, str], lowest: float) -> Any:
    first, *others = _numbers(kind, key, values[key])
    if others or first < lowest:
        raise UserError(f"{key}={values[key]!r} must be one number of at least {lowest}")
    return first


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


def fixed_layers(
    section: str,
    method: Method,
    model: str,
    num_classes: int,
    choice: Choice = EVERY_LAYER,
    image_size: int | None = None,
) -> dict[str, float]:
    """The layer sparsities that a method fixes before training. Raises UserError where training decides them."""
    learns = UserError(
        f"method={section}: its layer sparsities come from training or from images; "
        "give run=FOLDER of a finished run, or distribution=erk"
    )
    prune, regenerate = method.prune, method.regenerate
    reallocates = regenerate is not None and regenerate.reallocate is not preserve
    if method.family == "after_training" or reallocates:
        raise learns
    if method.init is None:
        return {}
    network = build(model, num_classes=num_classes, image_size=image_size)
    weights = choice.weights(network)
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


if __name__ == "__main__":
    run_main(main, __doc__, sys.argv[1:])
