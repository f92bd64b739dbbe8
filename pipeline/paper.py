"""The paper's numbers (paper.yaml), and how our protocol differs from the one behind them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.params import Params, read_yaml
from pipeline.results import once
from pipeline.runs import Cell

if TYPE_CHECKING:
    from pandas import DataFrame

FILE = Path(__file__).with_name("paper.yaml")
NAMES = {
    "epochs": "epochs",
    "batch_size": "batch size",
    "lr": "learning rate",
    "lr_drops": "learning-rate drops",
    "lr_factor": "factor of a drop",
    "momentum": "momentum",
    "weight_decay": "weight decay",
}


@dataclass(frozen=True)
class Published:
    """A number in print: test accuracy in [0, 1]. ``std`` is None where the paper quotes it from elsewhere."""

    mean: float
    std: float | None


@cache
def _paper() -> dict[str, Any]:
    return read_yaml(FILE)


def published(cell: Cell, section: Mapping[str, Any]) -> Published | None:
    """What the paper has for a cell (its seed aside) whose method section has these values; None where nothing.

    The reinitialised networks are in print as a figure only.
    """
    paper = _paper()
    if cell.stage == "dense":
        return _number(paper["dense"].get(cell.model, {}).get(cell.dataset))
    rows = {"sparse": paper["methods"], "retrain": paper["retrain"]}.get(cell.stage, [])
    column = [cell.dataset, cell.sparsity]
    for row in rows:
        same_method = row["section"].items() <= section.items() and row.get("rewind") == cell.rewind
        if same_method and cell.model in row and column in paper["columns"]:
            return _number(row[cell.model][paper["columns"].index(column)])
    return None


def _number(value: float | list[float] | None) -> Published | None:
    """From percent, as printed, to a fraction."""
    if value is None:
        return None
    mean, std = value if isinstance(value, list) else (value, None)
    return Published(mean / 100, None if std is None else std / 100)


def differences(dataset: str, params: Params, runs: "DataFrame") -> list[str]:
    """How the runs on a data set depart from the paper's protocol, one phrase each."""
    protocol = _paper()["protocol"]
    found = []
    for key, theirs in protocol["train"].items():
        ours = getattr(params.train, key)
        if ours != theirs:
            epochs = key == "epochs" and ours < theirs
            found.append(
                f"{ours} of {theirs} epochs" if epochs else f"{NAMES[key]} {ours} instead of {theirs}"
            )
    for split, full in (("train", protocol["num_train"].get(dataset)), ("test", protocol["num_test"])):
        ours = once(runs[f"num_{split}"].tolist(), "{:,}".format)
        if full is not None and ours != f"{full:,}":
            found.append(f"{ours} of {full:,} {'training' if split == 'train' else split} images")
    sections = [params.methods[name] for name in params.grid.methods]
    intervals = list(dict.fromkeys(s["update_interval"] for s in sections if "update_interval" in s))
    if intervals and intervals != [protocol["update_interval"]]:
        ours = " or ".join(map(str, intervals))
        found.append(f"masks updated every {ours} steps instead of {protocol['update_interval']:,}")
    if (n := len(params.grid.seeds)) < protocol["seeds"]:
        found.append(f"{n} of {protocol['seeds']} seeds")
    return found
