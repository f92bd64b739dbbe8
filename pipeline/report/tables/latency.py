"""How long masked networks take on the CPU, by what runs them: the export stage's measurements."""

from collections.abc import Iterator

from pipeline.report.blocks import Fold, Line, Number, Table, by_heading
from pipeline.report.results import Other, Results
from pipeline.report.tables.smaller import short_name
from pipeline.report.words import milliseconds, setting


def latency(results: Results) -> Table | None:
    """A row per exported network and batch size, means over seeds; None where nothing was measured.

    Beside each time, how many times as fast as torch's dense network in bf16, or fp32 where that is all there is.
    """
    runs = [run for run in results.finished("export") if _measured(run)]
    if not runs:
        return None
    names = list(dict.fromkeys(name for run in runs for each in _measured(run).values() for name in each))
    lines = []
    for group in dict.fromkeys(run.cell.group for run in runs):
        times = [_measured(run) for run in runs if run.cell.group == group]
        for size in times[0]:
            label = f"{short_name(group.network or '')}, batch {size}"
            means = _means([each[size] for each in times if size in each])
            lines.append(
                Line(label, "", _numbers(means, names, group.name), setting(group.dataset, group.model))
            )
    return Table([(name, 1) for name in names], [], by_heading(lines), "network")


def by_layer(results: Results) -> Iterator[Fold]:
    """The first seed of each exported network, convolution by convolution."""
    shown = set()
    for run in results.finished("export"):
        layers = run.summary.get("runtimes", {}).get("layer_latency_ms", {})
        if not layers or run.cell.group in shown:
            continue
        shown.add(run.cell.group)
        names = list(next(iter(layers.values())))
        lines = [
            Line(layer, "", _numbers(times, names, run.cell.group.name)) for layer, times in layers.items()
        ]
        table = Table([(name, 1) for name in names], [], lines, "convolution")
        yield Fold(f"{short_name(run.cell.network or '')}, each convolution at batch 16", [table])


def _measured(run: Other) -> dict[str, dict[str, float]]:
    return run.summary.get("runtimes", {}).get("latency_ms", {})


def _means(times: list[dict[str, float]]) -> dict[str, float]:
    """Of what was measured for all seeds."""
    names = [name for name in times[0] if all(name in each for each in times)]
    return {name: sum(each[name] for each in times) / len(times) for name in names}


def _numbers(times: dict[str, float], names: list[str], group: str) -> list[Number]:
    dense = times.get("bf16", times["fp32"])
    return [
        Number(milliseconds(times[name]), f"{dense / times[name]:.2f} ×", group)
        if name in times
        else Number()
        for name in names
    ]
