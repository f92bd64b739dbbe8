"""What can be wrong with params.yaml, as far as it shows before any work: in a key, in a run, in the grid of all runs.

Everything here raises UserError for the first fault: one line that names key and value.
"""

import dataclasses
import difflib
import re
import typing
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import product
from typing import Any

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError

from granet import masks, models
from granet.common.keys import check_keys, keys_of
from granet.data import DATASETS
from granet.maskable import EVERY_LAYER
from granet.methods import INTERVAL, METHODS, TIME
from granet.methods.layer_sparsity import check_layer_sparsity
from granet.sparsifier.clock import Clock
from granet.studies.plasticity import parse_network
from granet.training.rounds import Rounds
from granet.types import UserError
from pipeline.params import sections
from pipeline.params.chains import check_chains, check_special, links
from pipeline.params.schema import REWINDS, SECTIONS, GridConfig, Params, section_schema

REQUIRED = {"grid": "grid: {seeds: [0]}", "train": "train: {epochs: 160}", "dense": "dense: {method: dense}"}
"""Sections without which nothing can run, and how the shortest of their kind looks."""
MANY_STEPS = 1_000_000
"""Of an epoch: an interval that is none even there is none in any run."""
TAKEN = ("soup", "export")
"""Names that the stage code writes for stages without a section."""
LONGEST = 60
"""Characters of a section's name: a run's name holds it, and must be a folder's."""
LONGEST_EXPERIMENT = 500
"""Characters that MLflow takes."""
MAY_BE_EMPTY = ("methods", "after", "chains", "soups", "reinit", "retrain", "rewinds", "pretrain", "export")
"""Lists of the grid without which there is still a dense run; their stages are then none."""
MAKES_MASKS = {"reinit": "methods", "retrain": "methods", "export": "pretrain"}
"""Lists of the grid whose entries start from runs of another list."""


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
    """The parameters of all sections, from plain data as params.yaml holds it."""
    for name, example in REQUIRED.items():
        if not isinstance(raw, dict) or name not in raw:
            raise UserError(
                f"params.yaml has no section {name}; add it, as {example}, or start from a recipe: "
                "python -m pipeline.params recipe=quick"
            )
    for name in raw:
        check_name(name)
        if name in TAKEN:
            raise UserError(
                f"section {name} has the name of a stage, whose code has a digest; give it another"
            )
    fixed = {name: section_of(name, schema, raw.get(name, {})) for name, schema in SECTIONS.items()}
    methods = {name: _method_section(name, raw) for name in raw if name not in SECTIONS}
    if (method := methods["dense"]["method"]) != "dense":
        raise UserError(f"dense.method={method!r} must be dense: other runs start from the dense network")
    name = fixed["tracking"].experiment
    if not name.strip() or len(name) > LONGEST_EXPERIMENT or not name.isprintable():
        raise UserError(
            f"tracking.experiment={name!r} is no name for MLflow; write 1 to {LONGEST_EXPERIMENT} printable characters"
        )
    return Params(**fixed, methods=methods)


def check_name(name: Any) -> None:
    """Raises UserError for a section's name that folders, dvc.yaml's command lines or YAML would take otherwise."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name) or len(name) > LONGEST:
        raise UserError(
            f"section {name!r} gives its name to folders and commands; write a letter, then letters, digits, _ and "
            f"- alone, {LONGEST} characters at most"
        )


def _method_section(name: str, raw: dict[str, Any]) -> dict[str, Any]:
    """A method section, completed by defaults. Intervals of bare steps get their unit."""
    named = [key for key, values in raw.items() if isinstance(values, dict) and "method" in values]
    if name not in named:
        if name in METHODS:
            raise UserError(f"{name} names no method; write method: {name} below it")
        known = suggest(name, [*SECTIONS, *named])
        raise UserError(f"{name} is an unknown section; {known} (a method section has a method key)")
    choose(f"{name}.method", raw[name]["method"], METHODS)
    row = METHODS[raw[name]["method"]]
    section = dataclasses.asdict(section_of(name, section_schema(raw[name]["method"]), raw[name]))
    for key in sections.keys(row, TIME):
        section[key] = text = str(section[key])
        sections.check_time(row, key, text, f"{name}.{key}")
    for key in sections.keys(row, INTERVAL):
        text = str(section[key])
        section[key] = f"{text}it" if text.isdecimal() else text
        sections.interval(section[key], MANY_STEPS, 1, f"{name}.{key}")
    return section


def section_of(name: str, schema: type, values: Any) -> Any:
    """``values`` as an instance of ``schema``: known keys, right types, and all in range."""
    if values is None:
        raise UserError(f"{name}: is empty; write keys below it, or remove it")
    if not isinstance(values, dict):
        raise UserError(f"{name}={values!r} must be a section of keys, not a value")
    kinds = typing.get_type_hints(schema)
    for key in values:
        if key not in kinds:
            raise UserError(f"{name}.{key} is an unknown key; {suggest(key, kinds)}")
    section = schema(**{key: typed(f"{name}.{key}", kinds[key], value) for key, value in values.items()})
    check_keys(name, section)
    return section


def typed(name: str, kind: Any, value: Any) -> Any:
    """``value``, an int as a float where ``kind`` is one; any other type is refused."""
    try:
        return _adapter(kind).validate_python(value, strict=True)
    except ValidationError as error:
        rules = dict.fromkeys(fault["msg"].removeprefix("Input should be ") for fault in error.errors())
        raise UserError(f"{name}={value!r} must be {' or '.join(rules)}") from None


@cache
def _adapter(kind: Any) -> TypeAdapter:
    return TypeAdapter(kind, config=ConfigDict(allow_inf_nan=False))


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


def check_run(params: Params, stage: str, dataset: str, model: str, **keys: Any) -> None:
    """Everything that can be wrong with one run, and nothing that it does not read.

    ``keys``: the others of its cell, which are seed, method, sparsity, network, rewind; None: its stage has none.
    """
    choose("dataset", dataset, DATASETS)
    check_model(model)
    for name, entries in (("seed", "seeds"), ("sparsity", "sparsities")):
        keys_of(GridConfig)[entries].check(name, keys.get(name))
    if keys.get("rewind") is not None:
        choose("rewind", keys["rewind"], REWINDS)
    steps = steps_per_epoch(params, dataset)
    if keys.get("method") is not None:
        _check_method(params, stage, keys["method"], keys["sparsity"], steps, keys.get("begun"))
        _check_layers(params, stage, model, keys["method"], keys["sparsity"], steps)
    if keys.get("network") is not None:
        parse_network(keys["network"])
        _check_study(params, stage)


def check_model(model: str) -> None:
    """Raises UserError for a model that is unknown, also to the library that its name begins with."""
    if model.partition(".")[0] in models.LIBRARIES:
        models.check_name(model)
    else:
        choose("model", model, models.MODELS)


def _check_method(
    params: Params, stage: str, section: str, sparsity: float, steps: int, begun: float | None = None
) -> None:
    """Whether the stage trains such a section. Those that retrain a mask read nothing of it: its own run is checked."""
    choose("method", section, _sparse(params))
    right = stage if check_special(params, stage, section, sparsity, steps) else params.stage_of(section)
    if stage in ("sparse", "after") and stage != right:
        raise UserError(
            f"method={section!r} belongs to the {right} stage; run: python -m pipeline.train {right} ..."
        )
    if stage != right:
        if right in ("after", "chain"):
            raise UserError(
                f"method={section!r} belongs to the {right} stage; {stage} starts from a run of sparse"
            )
        return
    method = params.method(section, sparsity, steps, begun)
    sections.check_training(section, method, params.train)
    try:
        total = Rounds.of(method, params.train_config(section).total_epochs * steps, steps).total_steps
        Clock(method, total)
    except UserError as error:
        raise UserError(f"{section}: {error}") from None


def _check_layers(params: Params, stage: str, model: str, section: str, sparsity: float, steps: int) -> None:
    """Whether the layers that params.yaml chooses are there, and whether their own sparsities can be."""
    train = params.train
    if train.choice == EVERY_LAYER and not train.layer_sparsity:
        return
    with torch.device("meta"):
        network = models.build(model, num_classes=2, image_size=params.data.image_size)
    try:
        shapes = masks.shapes(train.choice.weights(network))
        if not shapes:
            raise UserError("include, exclude and dense leave no layer to mask")
        if stage in ("chain", params.stage_of(section)):
            check_layer_sparsity(params.method(section, sparsity, steps), train.layer_sparsity, shapes)
    except UserError as error:
        raise UserError(f"train, model={model}: {error}") from None


def _sparse(params: Params) -> list[str]:
    return [name for name, values in params.methods.items() if values["method"] != "dense"]


def _check_study(params: Params, stage: str) -> None:
    """Whether a run of the plasticity study has the epochs after which it is pruned, and the one process it can use."""
    if stage == "plasticity" and params.train.num_processes > 1:
        raise UserError(
            f"train.num_processes={params.train.num_processes}: the plasticity stage is one process, which branches "
            "through all of its grid; write 1"
        )
    epochs, last = params.plasticity.epochs, params.train.total_epochs - 1
    if stage != "export" and (late := [epoch for epoch in epochs if epoch > last]):
        raise UserError(
            f"plasticity.epochs={epochs}: {late[0]} is not before the end of training, "
            f"train.epochs={last + 1}; write epochs up to {last}"
        )


def check_grid(params: Params) -> None:
    """The rules of the grid's lists, and `check_run` of every cell."""
    grid = params.grid
    lists = vars(grid)
    for name, entries in lists.items():
        if not entries and name not in MAY_BE_EMPTY:
            raise UserError(f"grid.{name}=[] is empty: nothing would run; give it at least one entry")
        if len(set(entries)) < len(entries):
            raise UserError(f"grid.{name}={entries} names an entry twice; remove one")
    check_chains(params)
    for name, other, stage, starts in (
        ("methods", "after", "sparse", "the trained dense network"),
        ("after", "methods", "after", "scratch"),
    ):
        for section in lists[name]:
            choose(f"grid.{name}", section, _sparse(params))
            if params.stage_of(section) != stage:
                raise UserError(
                    f"grid.{name}={section!r}: {section} starts from {starts}; move it to grid.{other}"
                )
    for name, other in MAKES_MASKS.items():
        for entry in lists[name]:
            if entry not in lists[other]:
                raise UserError(
                    f"grid.{name}={entry!r} is not in grid.{other}={lists[other]}, whose runs it starts "
                    "from; add it there or remove it here"
                )
    for text in grid.pretrain:
        parse_network(text, key="grid.pretrain")
    for run in _runs(grid):
        check_run(params, **run)


def _runs(grid: GridConfig) -> Iterator[dict[str, Any]]:
    """The keys of every cell of the grid but the seed, which no check depends on."""
    methods = {"sparse": grid.methods, "after": grid.after, "reinit": grid.reinit, "retrain": grid.retrain}
    methods |= {"member": grid.soups}
    networks = {"pretrain": grid.pretrain, "plasticity": grid.pretrain, "export": grid.export}
    for dataset, model in product(grid.datasets, grid.models):
        cell = {"dataset": dataset, "model": model}
        yield {"stage": "dense", **cell}
        for stage, entries in methods.items():
            for section, sparsity in product(entries, grid.sparsities):
                yield {"stage": stage, **cell, "method": section, "sparsity": sparsity}
        for section, (begun, sparsity) in product(grid.chains, links(grid.sparsities)):
            yield {"stage": "chain", **cell, "method": section, "sparsity": sparsity, "begun": begun}
        for stage, entries in networks.items():
            yield from ({"stage": stage, **cell, "network": network} for network in entries)
