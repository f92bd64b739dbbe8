"""Table 1: how the dense networks were trained, and what they reach."""

from dataclasses import asdict, replace
from typing import Any

from pipeline.params.schema import Params
from pipeline.report.blocks import Line, Number, Table
from pipeline.report.paper.protocol import protocol, settings
from pipeline.report.results import Results
from pipeline.report.tables.numbers import beside, ours, record_of
from pipeline.report.words import setting
from pipeline.training.cell import Group

HEADS = ("epochs", "batch size", "learning rate", "momentum", "drops at epoch", "weight decay", "accuracy")


def table1(results: Results) -> Table | None:
    """A row per dense network, in the paper's order; the paper's values stand below ours, settings where they differ.

    None where the grid has methods, and none of its dense networks is in print.
    """
    grid, in_print = results.params.grid, settings()
    networks = [(model, dataset) for model in grid.models for dataset in grid.datasets]
    if not set(networks) & set(in_print):
        if grid.methods or grid.after:
            return None
        in_print = []
    lines = []
    for model, dataset in [*in_print, *(network for network in networks if network not in in_print)]:
        in_grid, is_printed = (model, dataset) in networks, (model, dataset) in in_print
        group = Group("dense", dataset, model)
        below = beside(results, group, record_of(results, group))
        numbers = [
            *_settings(results.params, in_grid, is_printed),
            replace(ours(results, group), below=below),
        ]
        lines.append(Line(setting(dataset, model), "", numbers))
    return Table([(head, 1) for head in HEADS], [], lines, "network", "printed")


def _settings(params: Params, in_grid: bool, is_printed: bool) -> list[Number]:
    """Ours where the grid has the network; below them the paper's, where they differ or stand alone."""
    train = asdict(params.train) | {"epochs": params.train.total_epochs}
    texts = _texts(train) if in_grid else [""] * 6
    printed = _texts(protocol("cifar10")["train"]) if is_printed else [""] * 6
    return [
        Number(text, below=(other,) if other and other != text else ())
        for text, other in zip(texts, printed, strict=True)
    ]


def _texts(train: dict[str, Any]) -> list[str]:
    """One text per column but the last."""
    drops = ", ".join(f"{drop * train['epochs']:g}" for drop in train["lr_drops"])
    plain = [f"{train[key]:g}" for key in ("epochs", "batch_size", "lr", "momentum", "weight_decay")]
    return [*plain[:4], f"{drops} (× {train['lr_factor']:g})" if drops else "none", plain[4]]
