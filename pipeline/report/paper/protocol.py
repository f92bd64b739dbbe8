"""How our protocol departs from the paper's own."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.params.schema import Params
from pipeline.report.paper.numbers import CIFAR, IMAGENET, columns, family_of, in_print, models, rows
from pipeline.report.results import Results, once

if TYPE_CHECKING:
    from pandas import DataFrame


NAMES = {
    "epochs": "epochs",
    "batch_size": "batch size",
    "lr": "learning rate",
    "lr_drops": "learning-rate drops",
    "lr_factor": "factor of a drop",
    "warmup_epochs": "warm-up epochs",
    "momentum": "momentum",
    "nesterov": "Nesterov momentum",
    "weight_decay": "weight decay",
    "decay_norm": "weight decay on BatchNorm",
    "init": "initialisation",
    "label_smoothing": "label smoothing",
}


def protocol(dataset: str) -> dict[str, Any] | None:
    """How the paper trains on a data set; None where it has none of its results."""
    in_paper = dataset == IMAGENET or dataset in columns()
    return in_print()[family_of(dataset)]["protocol"] if in_paper else None


def settings() -> list[tuple[str, str]]:
    """The rows of Table 1: (model, data set)."""
    return [
        (model, dataset) for model, datasets in in_print()[CIFAR]["dense"].items() for dataset in datasets
    ]


def training() -> dict[str, Any]:
    """The values of the train section in print (Table 1)."""
    return in_print()[CIFAR]["protocol"]["train"]


def differences(results: Results, dataset: str, *, methods: bool = True) -> list[str]:
    """How the runs on a data set depart from the paper's protocol, one phrase each; the number of seeds aside.

    Without ``methods``: the settings of the grid's methods do not count.
    """
    params, runs = results.params, results.on(dataset)
    if runs.empty or (printed := protocol(dataset)) is None:
        return []
    phrases = _of_training(params, printed["train"]) + _of_images(params, runs, printed, dataset)
    per_norm, norm = params.train.images_per_norm, printed.get("images_per_norm")
    if norm and per_norm != norm and params.train.batch_size == printed["train"]["batch_size"]:
        phrases.append(f"BatchNorm over {per_norm} images instead of {norm}")
    if methods:
        steps_per_epoch = -(-int(runs["num_train"].iloc[0]) // params.train.batch_size)
        phrases += _of_times(params, steps_per_epoch, printed, dataset)
    return phrases


def _of_training(params: Params, printed: Mapping[str, Any]) -> list[str]:
    """The train section."""
    phrases = []
    for key, value in printed.items():
        ours = params.train.total_epochs if key == "epochs" else getattr(params.train, key)
        if ours == value:
            continue
        if isinstance(value, bool):
            phrases.append(f"{'with' if ours else 'without'} {NAMES[key]}")
        elif key == "epochs" and ours < value:
            phrases.append(f"{ours} of {value} epochs")
        else:
            usual = "the model's own" if value is None else value
            phrases.append(f"{NAMES[key]} {ours} instead of {usual}")
    return phrases


def _of_images(params: Params, runs: "DataFrame", printed: Mapping[str, Any], dataset: str) -> list[str]:
    """The images: how many, and of what size."""
    num_train, phrases = printed["num_train"], []
    full_train = num_train if isinstance(num_train, int) else num_train.get(dataset)
    for split, full in (("train", full_train), ("test", printed["num_test"])):
        ours = once(runs[f"num_{split}"].tolist(), "{:,}".format)
        if full is not None and ours != f"{full:,}":
            phrases.append(f"{ours} of {full:,} {'training' if split == 'train' else split} images")
    size, printed_size = params.data.image_size, printed.get("image_size")
    if None not in (size, printed_size) and size != printed_size:
        phrases.append(f"images of {size} instead of {printed_size} pixels")
    return phrases


def _of_times(params: Params, steps_per_epoch: int, printed: Mapping[str, Any], dataset: str) -> list[str]:
    """When masks are updated and pruning ends, of the rows that the paper's authors ran and the grid has."""
    intervals, ends, phrases = [], [], []
    for row in rows(family_of(dataset)).values():
        section = None if row.quoted or row.stage == "dense" else row.find(params)
        if section is None:
            continue
        method = params.method(section, params.grid.sparsities[0], steps_per_epoch)
        intervals += [method.update_interval] if method.update_interval else []
        if (phase := method.prune) is not None:
            epochs = params.train_config(section).total_epochs
            tf = phase.auto * epochs * steps_per_epoch if phase.tf is None else phase.tf
            ends.append(round(tf / steps_per_epoch, 1))
    intervals, ends = list(dict.fromkeys(intervals)), list(dict.fromkeys(ends))
    if intervals and intervals != [printed["update_interval"]]:
        ours = " or ".join(f"{interval:,}" for interval in intervals)
        steps = "step" if intervals == [1] else f"{ours} steps"
        phrases.append(f"masks updated every {steps} instead of {printed['update_interval']:,}")
    last = printed.get("pruning_epochs")
    if last is not None and ends and ends != [last]:
        phrases.append(f"pruning ends at epoch {' or '.join(f'{end:g}' for end in ends)} instead of {last}")
    return phrases


def seeds_missing(params: Params) -> list[str]:
    """The same for the number of seeds: on ImageNet the paper has one."""
    family = IMAGENET if params.grid.datasets == [IMAGENET] else CIFAR
    num_seeds = len(params.grid.seeds)
    printed = in_print()[family]["protocol"]["seeds"]
    return [f"{num_seeds} of {printed} seeds"] if num_seeds < printed else []


def is_papers(results: Results, dataset: str, model: str) -> bool:
    """Whether a model's runs on a data set stand in the paper's CIFAR tables, and its protocol is theirs."""
    return dataset in columns() and model in models() and not differences(results, dataset)
