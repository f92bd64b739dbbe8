"""What the export stage measured: networks whose pruned filters are cut out, and packed files."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from pipeline.report.blocks import Line, Number, Table, under
from pipeline.report.names import network_name
from pipeline.report.results import Results, once
from pipeline.report.words import setting
from pipeline.training.cell import Group

BATCH_SIZES = ("1", "128")


@dataclass(frozen=True)
class Smaller:
    """The table, and what has to be said of it."""

    table: Table
    hardware: str
    max_difference: str
    """Of an output, shrunk against masked and ONNX against shrunk: the largest."""
    uncut: list[str]
    """Networks in which no whole filter is pruned."""


def smaller(results: Results) -> Smaller | None:
    """A row per exported network, mean over its seeds; None where nothing was exported."""
    summaries: dict[Group, list[dict[str, Any]]] = {}
    for run in results.finished("export"):
        summaries.setdefault(run.cell.group, []).append(run.summary)
    if not summaries:
        return None
    by_place: dict[str, list[Line]] = {}
    uncut = []
    for group, several in summaries.items():
        label = network_name(group.network or "").removeprefix("Pre-trained, ").capitalize()
        numbers = _numbers(several, group.name, len(results.params.grid.seeds))
        by_place.setdefault(setting(group.dataset, group.model), []).append(Line(label, "", numbers))
        if not any(summary["latency_ms"] for summary in several):
            uncut.append(label)
    lines = [one for place, block in by_place.items() for one in under(place, block)]
    every = [summary for several in summaries.values() for summary in several]
    heads = [
        ("parameters, thousands", 3),
        ("MFLOPs per image", 3),
        *((f"latency at batch {size}, ms", 3) for size in BATCH_SIZES),
        ("weights on disk", 3),
    ]
    columns = [*["masked", "shrunk", "ratio"] * 4, "plain", "packed", "ratio"]
    return Smaller(
        table=Table(heads, columns, lines, "network"),
        hardware=once([_machine(summary) for summary in every]),
        max_difference=f"{max(max(s['max_difference'], s['onnx_max_difference']) for s in every):.1e}",
        uncut=list(dict.fromkeys(uncut)),
    )


def _machine(summary: dict[str, Any]) -> str:
    return f"{summary['environment']['hardware']}, PyTorch {summary['environment']['torch']}"


def _numbers(summaries: list[dict[str, Any]], name: str, num_seeds: int) -> list[Number]:
    few = f"n = {len(summaries)} of {num_seeds}" if len(summaries) < num_seeds else ""
    fields = [
        *_pair([summary["parameters"] for summary in summaries], "shrunk", _thousands, name),
        *_pair([summary["flops"] for summary in summaries], "shrunk", _millions, name),
    ]
    for size in BATCH_SIZES:
        times = [summary["latency_ms"][size] for summary in summaries if size in summary["latency_ms"]]
        fields += _pair(times, "shrunk", _milliseconds, name)
    fields += _pair([summary["bytes"] for summary in summaries], "packed", size_text, name)
    return [replace(fields[0], note=few), *fields[1:]]


def _pair(
    values: list[dict[str, float]], small: str, text: Callable[[float], str], name: str
) -> list[Number]:
    """Before, after, and how many times less; empty where nothing was measured."""
    if not values:
        return [Number()] * 3
    before = fmean(value["dense"] for value in values)
    after = fmean(value[small] for value in values)
    ratio = Number(f"{before / after:.2f} ×", group=name, strong=True)
    return [Number(text(before), group=name), Number(text(after), group=name), ratio]


def _thousands(count: float) -> str:
    return f"{count / 1e3:,.1f}" if count < 1e6 else f"{count / 1e3:,.0f}"


def _milliseconds(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def _millions(count: float) -> str:
    return f"{count / 1e6:.1f}"


def size_text(num_bytes: float) -> str:
    """
    >>> size_text(1_090_000), size_text(80_300_000), size_text(530)
    ('1.09 MB', '80.3 MB', '530 B')
    """
    for prefix in ("", "k", "M"):
        if num_bytes < 999.5:
            return f"{num_bytes:.3g} {prefix}B"
        num_bytes /= 1000
    return f"{num_bytes:.3g} GB"
