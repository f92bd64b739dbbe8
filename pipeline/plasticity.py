"""Stage plasticity: prune a pre-trained network once, in many ways, and see what becomes of it (Section 3).

    python -m pipeline.plasticity [dataset=D] [model=M] [network=GRANULARITY-SPARSITY] [seed=S] [out=DIR]
                                  [section.key=value ...]

Needs the pretrain run of the same cell in runs/pretrain. One process goes through all branches: epochs, outcomes,
scopes, rates, with and without regeneration, as the section plasticity of params.yaml says. What is measured is kept
in .checkpoints: after an interruption, or with longer lists, only the branches that are missing are trained. Keys left
out are the first entries of the grid. With section.key=value overrides the results go to scratch/plasticity/<run>,
else to runs/plasticity/<run>.
"""

import json
import shutil
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from functools import lru_cache, partial
from pathlib import Path
from statistics import fmean

from granet.common import signals
from granet.common.files import atomic, made
from granet.studies.plasticity import Branch, Measurement, branches, measure, parse_network
from granet.training.config import TrainConfig
from granet.training.history import Row
from granet.types import UserError
from pipeline.cli import run_main
from pipeline.params.unchanged import deciding
from pipeline.training.cell import run_of
from pipeline.training.folder import BRANCHES, METRICS, SUMMARY, RunFolder
from pipeline.training.run import Work, check_recorded, opened
from pipeline.training.stages import pretrain


def main(arguments: Sequence[str]) -> None:
    """Measure the branches that are not there yet, and write all of them."""
    cell, params, folder = run_of("plasticity", arguments)
    assert cell.network is not None and cell.source is not None
    out, source = RunFolder(folder), RunFolder(cell.source.folder)
    wanted = branches(params.plasticity, parse_network(cell.network)[0])
    _check_training(source, params.train)
    made(out.path)
    with opened(cell, params, pretrain, [source]) as work:
        run, continued = work.run, params.plasticity.continued(work.run.config)
        with signals.requests():
            rows = _measured(work, source, wanted, continued)
        atomic(out.path / BRANCHES, csv_of(rows).encode())
        metrics = mean_changes(rows)
        out.write_json(METRICS, metrics)
        work.tracker.metrics(metrics, step=0)
        summary = {
            "name": cell.name,
            "config": work.config,
            "epochs": run.epochs,
            "lr_drop_epochs": [drop * run.epochs for drop in run.config.drops],
            "continued_epochs": continued,
            "num_branches": len(rows),
            "time_s": sum(row["time_s"] or 0.0 for row in rows),
            "image_shape": run.data.image_shape,
            "num_classes": run.data.num_classes,
            "environment": work.environment,
            "tracking": work.tracker.wait(),
        }
        out.write_json(SUMMARY, summary)
        work.tracker.artifacts(out.path / BRANCHES, out.path / SUMMARY)
    check_recorded(cell, params, folder)


def csv_of(rows: Sequence[Measurement]) -> str:
    """branches.csv: a row per branch."""
    from pandas import DataFrame

    return DataFrame(rows).to_csv(index=False)


def _measured(work: Work, source: RunFolder, wanted: list[Branch], continued: int) -> list[Measurement]:
    """What came of the wanted branches; those of an earlier process are not trained again."""
    run, tracker, record = work.run, work.tracker, work.store / "branches.json"
    rows = _recorded(record)
    missing = [branch for branch in wanted if branch.name not in rows]
    final = source.json(METRICS, "test_accuracy_last")["test_accuracy_last"]
    began, checkpoint = time.monotonic(), lru_cache(1)(partial(source.checkpoint, model=run.model))
    if len(missing) < len(wanted):
        print(f"{run.title}: {len(wanted) - len(missing)} of {len(wanted)} branches are there already")

    def log(row: Row) -> None:
        tracker.metrics(row, step=int(row["epoch"]))

    for done, branch in enumerate(missing):
        seconds = (time.monotonic() - began) / max(done, 1) * (len(missing) - done)
        left = f", {timedelta(seconds=round(seconds))} left" if done else ""
        title, folder = f"[{done + 1}/{len(missing)}{left}] {branch.name}", work.store / branch.name
        state = checkpoint(branch.epoch)
        with tracker.nested(branch.name, f"{run.title} {branch.name}", vars(branch)):
            row = measure(run, branch, state, final, continued, title=title, folder=folder, on_epoch=log)
            tracker.metrics({key: row[key] for key in ("before", "after", "change")}, step=run.epochs)
            rows[branch.name] = row | {"run_id": tracker.wait(is_last=False)["run_id"]}
        atomic(record, json.dumps(rows, indent=1).encode())
        shutil.rmtree(folder)
    return [rows[branch.name] for branch in wanted]


def _recorded(record: Path) -> dict[str, Measurement]:
    """The branches of earlier processes, by name."""
    try:
        return json.loads(record.read_text()) if record.exists() else {}
    except ValueError:
        raise UserError(f"{record} is damaged; delete it: its branches are then trained again") from None


def _check_training(source: RunFolder, train: TrainConfig) -> None:
    """Raise UserError where the network was trained otherwise: its branches would follow another schedule."""
    before = source.summary.config.get("train", {})
    for key, value in deciding(train).items():
        if before.get(key) != value:
            raise UserError(
                f"train.{key}={value!r}, but {source.path} was trained with {before.get(key)!r}; "
                f"write that, or {source.remedy}"
            )


def mean_changes(rows: Sequence[Measurement]) -> dict[str, float]:
    """Mean change in test accuracy over the epochs of pruning; branches that diverged are left out.

    >>> row = {"outcome": "final", "scope": "global", "rate": 0.5, "regenerated": True}
    >>> mean_changes([row | {"change": -0.25}, row | {"change": 0.0}, row | {"change": None}])
    {'final-global-0.5-regenerated': -0.125}
    """
    changes: dict[str, list[float]] = {}
    for row in rows:
        if row["change"] is not None:
            way = "regenerated" if row["regenerated"] else "pruned"
            key = f"{row['outcome']}-{row['scope']}-{row['rate']}-{way}"
            changes.setdefault(key, []).append(row["change"])
    return {key: fmean(values) for key, values in changes.items()}


if __name__ == "__main__":
    run_main(main, __doc__, sys.argv[1:])
