"""Run folders as frames: what the grid of params.yaml asks for, what of it is there, and means over seeds.

A group is one cell of the grid without its seed, e.g. ``sparse-digits-resnet20-granet-0.98``: the runs behind one
mean. Fractions lie in [0, 1].
"""


# pyright: reportAttributeAccessIssue=false, reportReturnType=false, reportArgumentType=false
# (pandas' types are wider than the values of a frame whose columns are known)

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from granet.types import UserError
from pipeline.params.files import Params
from pipeline.training.cell import STAGE_KEYS, Cell

if TYPE_CHECKING:
    from pandas import DataFrame


CURVES = ("sparsity", "test_accuracy", "inference_ratio")
FREE = {"device": None}  # of the train section: says where a run goes, not what it is
OTHERS = ("plasticity", "export")
"""Stages that train no network of their own, so that they have no accuracy to compare."""


@dataclass(frozen=True)
class Stat:
    """Mean and sample standard deviation (n - 1) over n seeds; one seed has no spread."""

    mean: float
    std: float | None
    n: int


@dataclass(frozen=True)
class Other:
    """A finished run of `OTHERS`."""

    cell: Cell
    summary: dict[str, Any]
    folder: Path


@dataclass(frozen=True)
class Results:
    """All runs of the grid: ``runs`` has a row each; ``missing`` never ran, ``outdated`` ran with other parameters.

    ``others``: the finished plasticity and export runs, which have no row there.
    """

    params: Params
    runs: "DataFrame"
    missing: list[Cell]
    outdated: list[Cell]
    others: list["Other"] = field(default_factory=list)

    def stat(self, name: str, metric: str) -> Stat | None:
        """Mean over the seeds of a group; None where no run has the metric."""
        values = self.runs.loc[self.runs["group"] == name, metric].dropna()
        if values.empty:
            return None
        return Stat(float(values.mean()), float(values.std()) if len(values) > 1 else None, len(values))

    def values(self, name: str, metric: str) -> list[float]:
        """A metric of each run of a group, in the order of the grid's seeds."""
        return list(self.by_seed(name, metric).values())

    def by_seed(self, name: str, metric: str) -> dict[int, float]:
        """The same, with each run's seed."""
        runs = self.runs.loc[self.runs["group"] == name, ["seed", metric]].dropna()
        return dict(zip(runs["seed"].tolist(), runs[metric].tolist(), strict=True))

    def finished(self, stage: str) -> list["Other"]:
        """The finished runs of a stage of `OTHERS`."""
        return [other for other in self.others if other.cell.stage == stage]

    def on(self, dataset: str) -> "DataFrame":
        """The runs on one dataset."""
        return self.runs[self.runs["dataset"] == dataset]

    def of(self, dataset: str, model: str) -> "DataFrame":
        """The runs of one model on one dataset."""
        return self.runs[(self.runs["dataset"] == dataset) & (self.runs["model"] == model)]


def cells(params: Params) -> Iterator[Cell]:
    """Every cell of the grid, in the order of the stages and of the grid's lists."""
    grid = params.grid
    values = {
        "dataset": grid.datasets,
        "model": grid.models,
        "method": grid.methods,
        "sparsity": grid.sparsities,
        "rewind": grid.rewinds,
        "network": grid.pretrain,
        "seed": grid.seeds,
    }
    for stage, keys in STAGE_KEYS.items():
        own = {
            key: values[key] for key in values if key in keys
        }  # the seed last: the runs of a mean stay together
        if stage in ("after", "reinit", "retrain"):
            own["method"] = getattr(grid, stage)
        if stage == "export":
            own["network"] = grid.export
        for combination in product(*own.values()):
            yield Cell(stage, **dict(zip(own, combination, strict=True)))


def group(cell: Cell) -> str:
    """The name of a cell's group.

    >>> group(Cell("sparse", "digits", "resnet20", seed=3, method="gmp", sparsity=0.98))
    'sparse-digits-resnet20-gmp-0.98'
    """
    keys = [key for key in STAGE_KEYS[cell.stage] if key != "seed"]
    return "-".join([cell.stage, *(str(getattr(cell, key)) for key in keys)])


def read(params: Params, root: Path = Path("runs")) -> Results:
    """The finished runs of the grid. Raises UserError where there are none, or where a summary cannot be read."""
    from pandas import DataFrame

    rows, others, missing, outdated = [], [], [], []
    for cell in cells(params):
        path = root / cell.stage / cell.name / "summary.json"
        if not path.exists():
            missing.append(cell)
            continue
        summary = _summary(path)
        # an export knows no parameters: it is as old as the network that it was made from
        stale_export = cell.stage == "export" and cell.source in (*missing, *outdated)
        if stale_export or not is_current(summary, params):
            outdated.append(cell)
        elif cell.stage in OTHERS:
            others.append(Other(cell, summary, path.parent))
        else:
            rows.append(_row(cell, summary, path.parent))
    if not rows:
        made = " that was made with its parameters" if outdated else ""
        raise UserError(f"{root} holds no finished run of the grid in params.yaml{made}; run: dvc repro")
    return Results(params, DataFrame(rows), missing, outdated, others)


def _summary(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except ValueError:
        raise UserError(f"{path} is not valid JSON; delete {path.parent} and run: dvc repro") from None


def is_current(summary: dict[str, Any], params: Params) -> bool:
    """Whether a run was made with the settings that params.yaml has now; the device does not matter.

    Data and masks are left to DVC, which knows whether they changed; settings that do not change them may differ.
    """
    if (config := summary.get("config")) is None:  # of an export
        return True
    stage = config["stage"]
    if config["train"] | FREE != dataclasses.asdict(params.train) | FREE:
        return False
    if stage == "plasticity":
        return config["plasticity"] == dataclasses.asdict(params.plasticity)
    section = params.methods.get(config.get("method") or "dense")
    return stage in ("pretrain", "reinit", "retrain") or config["hyperparameters"] == section


def _row(cell: Cell, summary: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One run, flat."""
    flops, images = summary["flops"], summary["num_images"]
    return {
        **dataclasses.asdict(cell),
        "cell": cell,
        "group": group(cell),
        "dvc_stage": f"{cell.stage}@{cell.name}",
        "folder": folder,
        **{name: summary["accuracy"][f"test_accuracy_{name}"] for name in ("last", "best_val", "best_test")},
        "final_sparsity": summary["sparsity"],
        "inference_flops": flops["inference"],
        "inference_dense": flops["inference_dense"],
        "training_dense": flops["training_dense"],
        "inference_ratio": flops["inference"] / flops["inference_dense"],
        "training_ratio": flops["training"] / flops["training_dense"],
        "layer_sparsity": summary["layer_sparsity"],
        **{f"num_{split}": images.get(split, 0) for split in ("train", "val", "test")},
        "time_s": summary["time_s"],
        **summary["environment"],
        "experiment": summary["tracking"]["experiment"] or "none: not tracked",
        "experiment_id": summary["tracking"].get("experiment_id") or "",  # pandas would make NaN of a None
        "run_id": summary["tracking"]["run_id"] or "",
    }


def histories(runs: "DataFrame") -> "DataFrame":
    """history.csv of all runs, one under the other, with run, group, seed and inference FLOPs as a ratio to dense."""
    from pandas import concat, read_csv

    frames = []
    for run in runs.itertuples():
        history = read_csv(run.folder / "history.csv")
        ratio = history["inference_flops"] / run.inference_dense
        frames.append(
            history.assign(run=run.dvc_stage, group=run.group, seed=run.seed, inference_ratio=ratio)
        )
    return concat(frames, ignore_index=True)


def curves(runs: "DataFrame") -> "DataFrame":
    """Mean and std over the seeds of a group at every epoch: columns (curve, "mean" | "std"), index (group, epoch)."""
    return histories(runs).groupby(["group", "epoch"], sort=False)[list(CURVES)].agg(["mean", "std"])


def layers(runs: "DataFrame") -> "DataFrame":
    """Mean learnt sparsity: a row per group, a column per layer in the order of the model. Dense runs have none."""
    from pandas import DataFrame

    masked = runs[runs["layer_sparsity"].map(bool).astype(bool)]  # of no runs, map makes objects
    frame = DataFrame(masked["layer_sparsity"].tolist(), index=masked["group"])
    return frame.groupby(level=0, sort=False).mean()


def headline(results: Results) -> dict[str, dict[str, float]]:
    """reports/metrics.json: mean test accuracy at the last epoch, by model and method.

    Keys look like ``{"digits-resnet20": {"dense": 0.97, "granet-0.98": 0.93, "granet-0.98-lth": 0.92}}``. A
    pre-trained network is ``pretrain-element-0.9``; its ``plasticity-element-0.9-global-0.5-regenerated`` is the mean
    change over the epochs at which it was pruned.
    """
    found: dict[str, dict[str, float]] = {}
    for run in results.runs.drop_duplicates("group").itertuples():
        prefix = f"{run.stage}-{run.dataset}-{run.model}-"
        key = run.group.removeprefix(prefix) if run.stage != "dense" else "dense"
        if run.stage == "reinit":
            key += "-reinit"
        if run.stage == "pretrain":
            key = f"pretrain-{key}"
        stat = results.stat(run.group, "last")
        assert stat is not None
        found.setdefault(f"{run.dataset}-{run.model}", {})[key] = round(stat.mean, 6)
    for (model, key), changes in _mean_changes(results).items():
        found.setdefault(model, {})[key] = round(fmean(changes), 6)
    return found


def _mean_changes(results: Results) -> dict[tuple[str, str], list[float]]:
    """What each plasticity run states as its means, by (data set and model, key): one value per seed."""
    found: dict[tuple[str, str], list[float]] = {}
    for run in results.finished("plasticity"):
        path, cell = run.folder / "metrics.json", run.cell
        for name, change in json.loads(path.read_text()).items():
            outcome, _, branch = name.partition("-")
            key = f"{cell.dataset}-{cell.model}", f"{outcome}-{cell.network}-{branch}"
            found.setdefault(key, []).append(change)
    return found


def once(values: Sequence[Any], text: Callable[[Any], str] = str) -> str:
    """What several runs have in common, or each value with the number of runs that have it.

    >>> once(["fp32", "fp32"]), once(["fp32", "bf16", "fp32"])
    ('fp32', 'fp32 (2 runs), bf16 (1 run)')
    """
    counts = {value: values.count(value) for value in dict.fromkeys(values)}
    if len(counts) == 1:
        return text(values[0])
    return ", ".join(f"{text(value)} ({n} run{'s' if n > 1 else ''})" for value, n in counts.items())
