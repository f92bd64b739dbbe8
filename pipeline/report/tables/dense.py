"""Table 1: how the dense networks were trained, and what they reach."""

from dataclasses import asdict, replace
from typing import Any

from pipeline.params.files import Params
from pipeline.report import paper
from pipeline.report.results import Results
from pipeline.report.tables.fields import Number, Table, line, ours, theirs
from pipeline.report.words import setting
from pipeline.training.cell import Cell

HEADS = ("epochs", "batch size", "learning rate", "momentum", "drops at epoch", "weight decay", "accuracy")


def table1(results: Results) -> Table | None:
    """A row per dense network, in the paper's order; the paper's values stand below ours, settings where they differ.

    None where the grid has methods, and none of its dense networks is in print.
    """
    grid, in_print = results.params.grid, paper.settings()
    own = [(model, dataset) for model in grid.models for dataset in grid.datasets]
    if not set(own) & set(in_print):
        if grid.methods or grid.after:
            return None
        in_print = []
    lines = []
    for model, dataset in [*in_print, *(network for network in own if network not in in_print)]:
        is_ours, is_theirs = (model, dataset) in own, (model, dataset) in in_print
        cell = Cell("dense", dataset, model, 0)
        below = tuple(text for text in theirs(results, cell) if text)
        numbers = [*_settings(results.params, is_ours, is_theirs), replace(ours(results, cell), below=below)]
        lines.append(replace(line(results, None, numbers), label=setting(dataset, model), color=""))
    return Table([(head, 1) for head in HEADS], [], lines)


def _settings(params: Params, is_ours: bool, is_theirs: bool) -> list[Number]:
    """Ours where the grid asks for the network; below them the paper's, where they differ or stand alone."""
    epochs = params.train.total_epochs
    mine = _texts(asdict(params.train) | {"epochs": epochs}) if is_ours else [""] * 6
    printed = _texts(paper.training()) if is_theirs else [""] * 6
    return [
        Number(own, below=(other,) if other and other != own else ())
        for own, other in zip(mine, printed, strict=True)
    ]


def _texts(train: dict[str, Any]) -> list[str]:
    """One text per column but the last."""
    drops = ", ".join(f"{drop * train['epochs']:g}" for drop in train["lr_drops"])
    plain = [f"{train[key]:g}" for key in ("epochs", "batch_size", "lr", "momentum", "weight_decay")]
    return [*plain[:4], f"{drops} (× {train['lr_factor']:g})" if drops else "none", plain[4]]
