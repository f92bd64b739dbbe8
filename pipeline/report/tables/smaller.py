"""What the export stage measured: networks whose pruned filters are cut out, and packed files."""

from collections.abc import Callable
from dataclasses import replace
from statistics import fmean
from typing import Any, NamedTuple

from pipeline.report.blocks import Line, Number, Table, by_heading
from pipeline.report.names import network_name
from pipeline.report.results import Results, once
from pipeline.report.words import flops, setting
from pipeline.training.cell import Group

BATCH_SIZES = ("1", "128")


class Smaller(NamedTuple):
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
    lines, uncut = [], []
    for group, several in summaries.items():
        label = network_name(group.network or "").removeprefix("Pre-trained, ").capitalize()
        numbers = _numbers(several, group.name, len(results.params.grid.seeds))
        lines.append(Line(label, "", numbers, setting(group.dataset, group.model)))
        if not any(summary["latency_ms"] for summary in several):
            uncut.append(label)
    every = [summary for several in summaries.values() for summary in several]
    machines = [f"{one['environment']['hardware']}, PyTorch {one['environment']['torch']}" for one in every]
    heads = [
        ("parameters, thousands", 3),
        ("MFLOPs per image", 3),
        *((f"latency at batch {size}, ms", 3) for size in BATCH_SIZES),
        ("weights on disk", 3),
    ]
    columns = [*["masked", "shrunk", "ratio"] * 4, "plain", "packed", "ratio"]
    return Smaller(
        table=Table(heads, columns, by_heading(lines), "network"),
        hardware=once(machines),
        max_difference=f"{max(max(s['max_difference'], s['onnx_max_difference']) for s in every):.1e}",
        uncut=list(dict.fromkeys(uncut)),
    )


def _numbers(summaries: list[dict[str, Any]], name: str, num_seeds: int) -> list[Number]:
    """Before, after, and how many times less; empty where nothing was measured."""
    fields = []
    for key, small, text in MEASURED:
        flat = [summary | summary["latency_ms"] for summary in summaries]
        values = [summary[key] for summary in flat if key in summary]
        if not values:
            fields += [Number()] * 3
            continue
        before, after = fmean(one["dense"] for one in values), fmean(one[small] for one in values)
        ratio = Number(f"{before / after:.2f} ×", group=name, strong=True)
        fields += [Number(text(before), group=name), Number(text(after), group=name), ratio]
    if len(summaries) < num_seeds:
        fields[0] = replace(fields[0], note=f"n = {len(summaries)} of {num_seeds}")
    return fields


def _thousands(count: float) -> str:
    return f"{count / 1e3:,.1f}" if count < 1e6 else f"{count / 1e3:,.0f}"


def _millions(count: float) -> str:
    return f"{count / 1e6:.1f}"


def _milliseconds(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def size_text(num_bytes: float) -> str:
    """
    >>> size_text(1_090_000), size_text(80_300_000), size_text(530)
    ('1.09 MB', '80.3 MB', '530 B')
    """
    return flops(num_bytes).replace("FLOPs", "B")


MEASURED: list[tuple[str, str, Callable[[float], str]]] = [
    ("parameters", "shrunk", _thousands),
    ("flops", "shrunk", _millions),
    *((size, "shrunk", _milliseconds) for size in BATCH_SIZES),
    ("bytes", "packed", size_text),
]
"""Keys of a summary, its latencies included; what is compared with "dense"; how its numbers read."""
