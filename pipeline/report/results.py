"""Run folders as frames: what of the grid of params.yaml is there, and means over seeds.

A group is a cell of the grid without its seed: the runs behind one mean. In frames it stands by its name, e.g.
``sparse-digits-resnet20-granet-0.98``. Fractions lie in [0, 1].
"""

# pyright: reportAttributeAccessIssue=false, reportReturnType=false, reportArgumentType=false
# (pandas' types are wider than the values of a frame whose columns are known)

import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from pandas import DataFrame, concat

from granet.common.keys import keys_of
from granet.training.diagnostics import ALL
from granet.types import UserError
from pipeline.params.schema import Params
from pipeline.report.noise import Stat
from pipeline.training.cell import RUNS, Cell, Group, cells
from pipeline.training.folder import BRANCHES, METRICS, SUMMARY, RunFolder
from pipeline.training.summary import Summary

MASK_CURVES = {
    "ever_active": "ever active, %",
    "overlap_initial": "overlap with step 0, %",
    "overlap_updates": "overlap between updates, %",
}
"""Columns of diagnostics.csv that are drawn, by what they say."""
OTHERS = {
    "plasticity": ("config", "num_branches", "epochs", "lr_drop_epochs", "continued_epochs", "time_s"),
    "export": ("parameters", "flops", "latency_ms", "bytes", "max_difference", "environment"),
}
"""Stages that train no network of their own, so that they have no accuracy to compare; what their summaries hold."""


@dataclass(frozen=True)
class Other:
    """A finished run of `OTHERS`."""

    cell: Cell
    summary: dict[str, Any]
    folder: RunFolder
    branches: DataFrame = field(default_factory=DataFrame)
    """Of the plasticity study: its branches.csv."""


@dataclass(frozen=True)
class Results:
    """All runs of the grid: ``runs`` has a row each, but for ``others``; ``outdated`` ran with other parameters."""

    params: Params
    runs: DataFrame
    missing: list[Cell] = field(default_factory=list)
    outdated: list[Cell] = field(default_factory=list)
    others: list[Other] = field(default_factory=list)

    def stat(self, group: Group, metric: str) -> Stat | None:
        """Mean over the seeds of a group; None where no run has the metric, a column of ``runs``."""
        values = self.values(group, metric)
        return Stat.of(values) if values else None

    def by_seed(self, group: Group, metric: str) -> dict[int, float]:
        """The metric of each run of a group, in the order of the grid's seeds."""
        runs = self.runs.loc[self.runs["group"] == group.name, ["seed", metric]].dropna()
        return dict(zip(runs["seed"].tolist(), runs[metric].tolist(), strict=True))

    def values(self, group: Group, metric: str) -> list[float]:
        """The metric of each run of a group."""
        return list(self.by_seed(group, metric).values())

    def finished(self, stage: str) -> list[Other]:
        """The finished runs of a stage of `OTHERS`."""
        return [other for other in self.others if other.cell.stage == stage]

    def on(self, dataset: str) -> DataFrame:
        """The runs on one dataset."""
        return self.runs[self.runs["dataset"] == dataset]

    def of(self, dataset: str, model: str) -> DataFrame:
        """The runs of one model on one dataset."""
        on_dataset = self.on(dataset)
        return on_dataset[on_dataset["model"] == model]


def read(params: Params, root: Path = RUNS) -> Results:
    """The finished runs of the grid. Raises UserError where there are none, or where a summary cannot be read."""
    rows, others, missing, outdated = [], [], [], []
    for cell in cells(params):
        folder = RunFolder(root / cell.folder.relative_to(RUNS))
        if not folder.is_finished:
            missing.append(cell)
            continue
        # an export knows no parameters: it is as old as the network that it was made from
        stale_export = cell.stage == "export" and cell.source in (*missing, *outdated)
        if stale_export or not is_current(folder.json(), params, cell.begun):
            outdated.append(cell)
        elif cell.stage in OTHERS:
            others.append(_other(cell, folder))
        else:
            rows.append(_row(cell, folder.summary, folder))
    if not rows:
        why = " that was made with its parameters" if outdated else ""
        raise UserError(f"{root} holds no finished run of the grid in params.yaml{why}; run: dvc repro")
    return Results(params, DataFrame(rows), missing, outdated, others)


def _other(cell: Cell, folder: RunFolder) -> Other:
    other = Other(cell, folder.json(SUMMARY, *OTHERS[cell.stage]), folder)
    if cell.stage == "export":
        return other
    texts = ("outcome", "scope", "regenerated", "change")
    return dataclasses.replace(other, branches=folder.csv(BRANCHES, ("epoch", "rate"), texts))


def is_current(summary: dict[str, Any], params: Params, begun: float | None = None) -> bool:
    """Whether a run was made with the settings in params.yaml that decide its result; data and masks are DVC's.

    ``begun``: the sparsity that a run of a chain should have gone on from.
    """
    if (config := summary.get("config")) is None:  # of an export
        return True
    decisive = [name for name, key in keys_of(params.train).items() if key.decides_result]
    try:
        stage = config["stage"]
        if any(config["train"].get(name) != getattr(params.train, name) for name in decisive):
            return False
        if stage == "plasticity":
            return config["plasticity"] == dataclasses.asdict(params.plasticity)
        section = params.methods.get(config.get("method") or "dense")
        if config.get("begun") != begun:
            return False
        return stage in ("pretrain", "reinit", "retrain") or config["hyperparameters"] == section
    except (KeyError, TypeError, AttributeError):  # of another version, which did not say all of it
        return False


def _row(cell: Cell, summary: Summary, folder: RunFolder) -> dict[str, Any]:
    """One run, flat."""
    flops, images, tracking = summary.flops, summary.num_images, summary.tracking
    kept = ("layer_sparsity", "empty_layers", "image_shape", "num_classes", "time_s")
    return {
        **dataclasses.asdict(cell),
        "cell": cell,
        "group": cell.group.name,
        "dvc_stage": cell.dvc_stage,
        "folder": folder,
        **{name: summary.accuracy[f"test_accuracy_{name}"] for name in ("last", "best_val", "best_test")},
        "final_sparsity": summary.sparsity,
        **{f"{name}_dense": flops[f"{name}_dense"] for name in ("inference", "training")},
        **{f"{name}_ratio": flops[name] / flops[f"{name}_dense"] for name in ("inference", "training")},
        **{f"num_{split}": images.get(split, 0) for split in ("train", "val", "test")},
        **{name: getattr(summary, name) for name in kept},
        **summary.environment,
        "experiment": tracking["experiment"] or "none: not tracked",
        "experiment_id": tracking.get("experiment_id") or "",  # pandas would make NaN of a None
        "run_id": tracking["run_id"] or "",
    }


def histories(runs: DataFrame) -> DataFrame:
    """history.csv of all runs, one under the other, with run, group, seed and inference FLOPs as a ratio to dense."""
    frames = []
    for run in runs.itertuples():
        history, names = run.folder.history(), {"run": run.dvc_stage, "group": run.group, "seed": run.seed}
        frames.append(
            history.assign(**names, inference_ratio=history["inference_flops"] / run.inference_dense)
        )
    return concat(frames, ignore_index=True)


def curves(runs: DataFrame) -> DataFrame:
    """Mean and std over the seeds of a group at every epoch: columns (curve, "mean" | "std"), index (group, epoch)."""
    shown = ["sparsity", "test_accuracy", "inference_ratio"]
    return histories(runs).groupby(["group", "epoch"], sort=False)[shown].agg(["mean", "std"])


def mask_curves(runs: DataFrame) -> DataFrame:
    """What the masks did, as `curves`: columns (one of MASK_CURVES or dead_channels, "mean" | "std").

    Empty where no run has said it.
    """
    frames = []
    for run in runs.itertuples():
        if (frame := run.folder.diagnostics()) is not None:
            frames.append(frame[frame["layer"] == ALL].assign(group=run.group))
    if not frames:
        return DataFrame()
    grouped = concat(frames, ignore_index=True).groupby(["group", "epoch"], sort=False)
    return grouped[[*MASK_CURVES, "dead_channels"]].agg(["mean", "std"])


def layers(runs: DataFrame) -> DataFrame:
    """Mean learnt sparsity: a row per group, a column per layer in the order of the model. Dense runs have none."""
    masked = runs[runs["layer_sparsity"].map(bool).astype(bool)]  # of no runs, map makes objects
    frame = DataFrame(masked["layer_sparsity"].tolist(), index=masked["group"])
    return frame.groupby(level=0, sort=False).mean()


def headline(results: Results) -> dict[str, dict[str, float]]:
    """reports/metrics.json: mean accuracy at the last epoch, as ``{"digits-resnet20": {"granet-0.98-lth": 0.92}}``.

    A pre-trained network is ``pretrain-element-0.9``; its ``plasticity-element-0.9-global-0.5-regenerated`` is the mean
    change over the epochs at which it was pruned.
    """
    values: dict[tuple[str, str], list[float]] = {}
    for run in results.runs[results.runs["stage"] != "member"].itertuples():
        group, place = run.cell.group, f"{run.dataset}-{run.model}"
        key = group.name.removeprefix(f"{group.stage}-{place}-")
        names = {
            "dense": "dense",
            "reinit": f"{key}-reinit",
            "pretrain": f"pretrain-{key}",
            "soup": f"{key}-soup",
        }
        values.setdefault((place, names.get(group.stage, key)), []).append(run.last)
    for run in results.finished("plasticity"):
        for name, change in run.folder.json(METRICS).items():
            outcome, _, branch = name.partition("-")
            key = f"{run.cell.dataset}-{run.cell.model}", f"{outcome}-{run.cell.network}-{branch}"
            values.setdefault(key, []).append(change)
    metrics: dict[str, dict[str, float]] = {}
    for (place, key), several in values.items():
        metrics.setdefault(place, {})[key] = round(fmean(several), 6)
    return metrics


def in_short(metrics: dict[str, dict[str, float]], sparsities: Sequence[float]) -> dict[str, Any]:
    """What `headline` gives, without the dataset, the model and the sparsity where the grid has one of them.

    >>> in_short({"digits-resnet20": {"dense": 0.99, "granet-0.98-lth": 0.92}}, [0.98])
    {'dense': 0.99, 'granet-lth': 0.92}
    >>> in_short({"a-b": {"pretrain-element-0.98": 0.9}}, [0.9])
    {'pretrain-element-0.98': 0.9}
    >>> in_short({"a-b": {"granet-0.9": 0.92}, "a-c": {}}, [0.9, 0.98])
    {'a-b': {'granet-0.9': 0.92}, 'a-c': {}}
    """
    part = re.compile(rf"-{re.escape(str(sparsities[0]))}(?=-|$)" if len(sparsities) == 1 else "$^")
    short = {
        place: {part.sub("", key, count=1): value for key, value in row.items()}
        for place, row in metrics.items()
    }
    return next(iter(short.values())) if len(short) == 1 else short


def once(values: Sequence[Any], text: Callable[[Any], str] = str) -> str:
    """What several runs have in common, or each value: "fp32", "fp32 (2 runs), bf16 (1 run)"."""
    counts = {value: values.count(value) for value in dict.fromkeys(values)}
    if len(counts) == 1:
        return text(values[0])
    return ", ".join(f"{text(value)} ({n} run{'s' if n > 1 else ''})" for value, n in counts.items())
