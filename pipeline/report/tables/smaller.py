"""What the export stage measured: networks whose pruned filters are cut out, and packed files."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from granet.deploy.spare import REASONS
from pipeline.report.blocks import Line, Number, Table, by_heading
from pipeline.report.names import network_name
from pipeline.report.results import Results, once
from pipeline.report.words import flops, milliseconds, setting


def size_text(num_bytes: float) -> str:
    """
    >>> size_text(1_090_000), size_text(80_300_000), size_text(530)
    ('1.09 MB', '80.3 MB', '530 B')
    """
    return flops(num_bytes).replace("FLOPs", "B")


def short_name(network: str) -> str:
    """Of a pre-trained network."""
    return network_name(network).removeprefix("Pre-trained, ").capitalize()


MEASURED: list[tuple[str, str, str, Callable[[float], str]]] = [
    ("parameters, thousands", "parameters", "shrunk", lambda n: f"{n / 1e3:,.{1 if n < 1e6 else 0}f}"),
    ("MFLOPs per image", "flops", "shrunk", lambda n: f"{n / 1e6:.1f}"),
    ("latency at batch 1, ms", "latency_ms.1", "shrunk", milliseconds),
    ("latency at batch 128, ms", "latency_ms.128", "shrunk", milliseconds),
    ("weights on disk", "bytes", "packed", size_text),
]
"""Head, key in a summary, what stands there beside "dense", and how its numbers read."""


def _channels(label: str, summaries: Sequence[dict[str, Any]]) -> str:
    """Of the runs of a network: "Single weights: 6 of 448 channels (4 always zero, 2 read by nobody)"."""
    counts = [summary["channels"] for summary in summaries]
    size, kept = (sum(each[key] for each in counts) for key in ("dense", "shrunk"))
    why = {words: sum(each["reasons"][key] for each in counts) for key, words in REASONS.items()}
    reasons = ", ".join(f"{number:,} {words}" for words, number in why.items() if number)
    return f"{label}: {size - kept:,} of {size:,} channels" + (f" ({reasons})" if reasons else "")


def smaller(results: Results) -> tuple[Table, dict[str, str]]:
    """A row per exported network, mean over its seeds; and what has to be said of them.

    ``channels`` says how many went and why; ``networks`` are those that lost none; ``difference`` is the largest one of
    an output, shrunk against masked and ONNX against shrunk.
    """
    from pandas import json_normalize

    exported = results.finished("export")
    frame = json_normalize([run.summary for run in exported])
    frame["group"] = [run.cell.group.name for run in exported]
    lines, uncut, channels = [], [], []
    for group in dict.fromkeys(run.cell.group for run in exported):
        label = short_name(group.network or "")
        runs, numbers = frame[frame["group"] == group.name], []
        means = runs.mean(numeric_only=True).dropna().to_dict()
        for _, key, small, text in MEASURED:
            if f"{key}.dense" not in means:
                numbers += [Number()] * 3
                continue
            before, after = means[f"{key}.dense"], means[f"{key}.{small}"]
            ratio = Number(f"{before / after:.2f} ×", group=group.name, strong=True)
            numbers += [Number(text(one), group=group.name) for one in (before, after)] + [ratio]
        if len(runs) < (num_seeds := len(results.params.grid.seeds)):
            numbers[0] = replace(numbers[0], note=f"n = {len(runs)} of {num_seeds}")
        channels.append(_channels(label, [run.summary for run in exported if run.cell.group == group]))
        if not numbers[6].text:
            uncut.append(label)
        lines.append(Line(label, "", numbers, setting(group.dataset, group.model)))
    columns = [*["masked", "shrunk", "ratio"] * 4, "plain", "packed", "ratio"]
    machines = frame["environment.hardware"] + ", PyTorch " + frame["environment.torch"]
    return Table([(head, 3) for head, *_ in MEASURED], columns, by_heading(lines), "network"), {
        "hardware": once(machines.tolist()),
        "difference": f"{frame[['max_difference', 'onnx_max_difference']].max(axis=None):.1e}",
        "channels": "; ".join(dict.fromkeys(channels)),
        "networks": "; ".join(dict.fromkeys(uncut)),
    }
