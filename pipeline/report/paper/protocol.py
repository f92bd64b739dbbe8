"""What the paper has beside a run of ours, and how our protocol departs from its own. Rows: paper_rows.py."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.params.files import Params
from pipeline.report.paper.numbers import (
    FILE,
    IMAGENET,
    FlopsLayout,
    FlopsRow,
    Layout,
    Published,
    Row,
    columns,
    flops_layouts,
    flops_rows,
    in_print,
    is_imagenet,
    layouts,
    number,
    rows,
)
from pipeline.report.results import Results, once
from pipeline.training.cell import Cell

if TYPE_CHECKING:
    from pandas import DataFrame


__all__ = [
    "FILE",
    "IMAGENET",
    "FlopsLayout",
    "FlopsRow",
    "Layout",
    "Published",
    "Row",
    "columns",
    "dense_flops",
    "differences",
    "flops_layouts",
    "flops_rows",
    "is_imagenet",
    "layouts",
    "models",
    "protocol",
    "published",
    "rows",
    "seeds_missing",
    "settings",
    "training",
]
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
    "label_smoothing": "label smoothing",
}


def dense_flops() -> tuple[float, float]:
    """Training FLOPs of the dense ResNet-50, and those of one inference, in print."""
    own = in_print()[IMAGENET]["dense"]
    return own["training"], own["inference"]


def protocol(dataset: str) -> dict[str, Any] | None:
    """How the paper trains on a data set; None where it has none of its results."""
    if dataset == IMAGENET:
        return in_print()[IMAGENET]["protocol"]
    return in_print()["protocol"] if dataset in columns() else None


def models() -> list[str]:
    """The models of those tables."""
    return list(dict.fromkeys(model for row in rows().values() for model in row.numbers))


def settings() -> list[tuple[str, str]]:
    """The rows of Table 1: (model, data set)."""
    return [(model, dataset) for model, own in in_print()["dense"].items() for dataset in own]


def training() -> dict[str, Any]:
    """The values of the train section in print (Table 1)."""
    return in_print()["protocol"]["train"]


def published(cell: Cell, section: Mapping[str, Any]) -> Published | None:
    """What the paper has for a cell (its seed aside) whose method section has these values; None where nothing.

    The reinitialised networks are in print as a figure only.
    """
    if cell.stage == "dense" and is_imagenet(cell):
        return number(in_print()[IMAGENET]["dense"]["top1"])
    if cell.stage == "dense":
        return number(in_print()["dense"].get(cell.model, {}).get(cell.dataset))
    for row in (flops_rows() if cell.dataset == IMAGENET else rows()).values():
        if (row.stage, row.rewind) == (cell.stage, cell.rewind) and row.is_section(section):
            return row.published(cell)
    return None


def differences(results: Results, dataset: str) -> list[str]:
    """How the runs on a data set depart from the paper's protocol, one phrase each; the number of seeds aside."""
    params, runs = results.params, results.on(dataset)
    if runs.empty or (theirs := protocol(dataset)) is None:
        return []
    found = _of_training(params, theirs["train"])
    found += _of_images(params, runs, theirs, dataset)
    ours, norm = params.train.images_per_norm, theirs.get("images_per_norm")
    if norm and ours != norm and params.train.batch_size == theirs["train"]["batch_size"]:
        found.append(f"BatchNorm over {ours} images instead of {norm}")
    steps_per_epoch = -(-int(runs["num_train"].iloc[0]) // params.train.batch_size)
    intervals, ends = _times(params, steps_per_epoch, dataset)
    if intervals and intervals != [theirs["update_interval"]]:
        ours = " or ".join(f"{interval:,}" for interval in intervals)
        steps = "step" if intervals == [1] else f"{ours} steps"
        found.append(f"masks updated every {steps} instead of {theirs['update_interval']:,}")
    last = theirs.get("pruning_epochs")
    if last is not None and ends and ends != [last]:
        found.append(f"pruning ends at epoch {' or '.join(f'{end:g}' for end in ends)} instead of {last}")
    return found


def _of_training(params: Params, theirs: Mapping[str, Any]) -> list[str]:
    """The train section."""
    found = []
    for key, value in theirs.items():
        ours = params.train.total_epochs if key == "epochs" else getattr(params.train, key)
        if ours == value:
            continue
        if isinstance(value, bool):
            found.append(f"{'with' if ours else 'without'} {NAMES[key]}")
        elif key == "epochs" and ours < value:
            found.append(f"{ours} of {value} epochs")
        else:
            found.append(f"{NAMES[key]} {ours} instead of {value}")
    return found


def _of_images(params: Params, runs: "DataFrame", theirs: Mapping[str, Any], dataset: str) -> list[str]:
    """The images: how many, and of what size."""
    num_train, found = theirs["num_train"], []
    full_train = num_train if isinstance(num_train, int) else num_train.get(dataset)
    for split, full in (("train", full_train), ("test", theirs["num_test"])):
        ours = once(runs[f"num_{split}"].tolist(), "{:,}".format)
        if full is not None and ours != f"{full:,}":
            found.append(f"{ours} of {full:,} {'training' if split == 'train' else split} images")
    own, size = params.data.image_size, theirs.get("image_size")
    if None not in (own, size) and own != size:
        found.append(f"images of {own} instead of {size} pixels")
    return found


def _times(params: Params, steps_per_epoch: int, dataset: str) -> tuple[list[int], list[float]]:
    """Steps between mask updates, and epochs at which pruning ends, of the paper's own rows that the grid asks for.

    Epochs are those of a run that is not extended.
    """
    intervals, ends = [], []
    for row in (flops_rows() if dataset == IMAGENET else rows()).values():
        section = row.find(params)
        if row.quoted or section is None or not (row.numbers or isinstance(row, FlopsRow)):
            continue
        method = params.method(section, params.grid.sparsities[0], steps_per_epoch)
        intervals += [method.update_interval] if method.update_interval else []
        if (phase := method.prune) is not None:
            epochs = params.train_config(section).total_epochs
            tf = phase.auto * epochs * steps_per_epoch if phase.tf is None else phase.tf
            ends.append(round(tf / steps_per_epoch * params.train.epochs / epochs, 1))
    return list(dict.fromkeys(intervals)), list(dict.fromkeys(ends))


def seeds_missing(params: Params) -> list[str]:
    """The same for the number of seeds: on ImageNet the paper has one."""
    asked, own = len(params.grid.seeds), in_print()
    once_only = params.grid.datasets == [IMAGENET]
    theirs = (own[IMAGENET] if once_only else own)["protocol"]["seeds"]
    return [f"{asked} of {theirs} seeds"] if asked < theirs else []
