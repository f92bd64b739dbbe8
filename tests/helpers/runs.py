"""Run folders with numbers chosen by a test, by the types that write and read them. For tests only."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import cache
from hashlib import md5
from pathlib import Path

from granet.common.files import atomic
from granet.studies.plasticity import Branch, branches, parse_network
from granet.training.history import HistoryFile
from pipeline.params.files import Params, compose, validate
from pipeline.plasticity import csv_of, mean_changes
from pipeline.training.cell import Cell
from pipeline.training.folder import RunFolder
from pipeline.training.origin import config_of
from pipeline.training.summary import Summary

DENSE_FLOPS = 1_000_000
ENVIRONMENT = {
    "hardware": "x86_64 CPU, 2 threads",
    "precision": "fp32",
    "torch": "2.15.0",
    "git_revision": "0123456789abcdef0123456789abcdef01234567",
    "git_dirty": "false",
    "code": "0123456789abcdef0123456789abcdef",
    "data_md5": "d41d8cd98f00b204e9800998ecf8427e",
}
LAYERS = {"conv1.weight": 0.5, "layer1.conv.weight": 0.9, "fc.weight": 0.7}


@cache
def _quick() -> Params:
    return compose(
        [
            "recipe=quick",
            "grid.seeds=[0]",
            "data.image_size=null",
            "train.epochs=20",
            "train.batch_size=128",
            "train.kernels=dense",
        ]
    )


def params_of(**grid: list) -> Params:
    """The quick recipe under a grid of the test's own."""
    sections = _quick().sections()
    return validate(sections | {"grid": sections["grid"] | grid})


@cache
def study_of(recipe: str, *overrides: str) -> Params:
    """A recipe of the plasticity study, with overrides."""
    return compose([f"recipe={recipe}", *overrides])


def write_run(
    root: Path,
    params: Params,
    cell: Cell,
    accuracies: Sequence[float],
    *,
    best_val: float | None = None,
    best_test: float | None = None,
    inference_ratio: float = 0.1,
    training_ratio: float = 0.2,
    num_images: dict[str, int] | None = None,
    layers: dict[str, float] | None = None,
    run_id: str | None = "auto",
    experiment_id: str | None = None,
) -> Path:
    """A finished run with these test accuracies by epoch; the last one is the headline."""
    folder = RunFolder(root / cell.stage / cell.name)
    target = cell.sparsity or 0.0
    layer_sparsity = (LAYERS if layers is None else layers) if cell.method or cell.network else {}
    inference = DENSE_FLOPS * (inference_ratio if cell.method else 1)
    with HistoryFile(folder.path / "history.csv") as file:
        for epoch, accuracy in enumerate(accuracies, start=1):
            share = epoch / len(accuracies)
            file.write(
                {
                    "epoch": epoch,
                    "step": 12 * epoch,
                    "lr": 0.1,
                    "train_loss": 1 / epoch,
                    "train_accuracy": accuracy,
                    "train_flops": 100 * epoch,
                    "images_per_s": 1000.0,
                    "test_loss": 1 / epoch,
                    "test_accuracy": accuracy,
                    "sparsity": target * share,
                    "inference_flops": round(DENSE_FLOPS + (inference - DENSE_FLOPS) * share),
                    "time_s": 2.0 * epoch,
                }
            )
    training_dense = 3 * DENSE_FLOPS * len(accuracies)
    summary = Summary(
        name=cell.name,
        config=config_of(cell, params),
        accuracy={
            "test_accuracy_last": accuracies[-1],
            "test_accuracy_best_val": best_val,
            "test_accuracy_best_test": max(accuracies) if best_test is None else best_test,
        },
        sparsity=target,
        layer_sparsity=layer_sparsity,
        flops={
            "inference": round(inference),
            "inference_dense": DENSE_FLOPS,
            "training": round(training_dense * (training_ratio if cell.method else 1)),
            "training_dense": training_dense,
        },
        num_images=num_images or {"train": 1437, "test": 360},
        image_shape=(3, 32, 32),
        num_classes=10,
        epochs=len(accuracies),
        final_sparsity_epoch=1,
        time_s=2.0 * len(accuracies),
        environment=ENVIRONMENT,
        tracking={
            "experiment": params.tracking.experiment,
            "experiment_id": experiment_id,
            "run_id": _run_id(cell) if run_id == "auto" else run_id,
        },
    )
    folder.write_json("summary.json", dataclasses.asdict(summary))
    return folder.path


def _run_id(cell: Cell) -> str:
    return md5(f"{cell.stage}@{cell.name}".encode()).hexdigest()


def write_branches(
    root: Path, params: Params, cell: Cell, change: Callable[[Branch], float | None], *, before: float = 0.8
) -> Path:
    """A finished plasticity run, each branch with the change that the test gives it; None: it diverged."""
    folder = RunFolder(root / cell.stage / cell.name)
    train, study = params.train, params.plasticity
    drops = [drop * train.total_epochs for drop in train.lr_drops]
    rows = []
    for branch in branches(study, parse_network(cell.network or "")[0]):
        found = change(branch)
        row = {
            **dataclasses.asdict(branch),
            "lr": train.lr * train.lr_factor ** sum(drop <= branch.epoch for drop in drops),
            "before": before,
            "after": None if found is None else before + found,
            "change": found,
            "sparsity": 0.9,
            "steps": 12 * branch.epoch,
            "time_s": 3.0,
            "run_id": "",
        }
        rows.append(row)
    atomic(folder.path / "branches.csv", csv_of(rows).encode())
    folder.write_json("metrics.json", mean_changes(rows))
    summary = {
        "name": cell.name,
        "config": config_of(cell, params),
        "epochs": train.total_epochs,
        "lr_drop_epochs": drops,
        "continued_epochs": study.continued(train),
        "num_branches": len(rows),
        "time_s": 3.0 * len(rows),
        "environment": ENVIRONMENT,
        "tracking": {
            "experiment": params.tracking.experiment,
            "experiment_id": "4",
            "run_id": _run_id(cell),
        },
    }
    folder.write_json("summary.json", summary)
    return folder.path


TIMES = (("1", 4.0), ("128", 160.0))
"""Batch sizes, and milliseconds of a dense network."""


def write_export(root: Path, cell: Cell, *, times_smaller: float = 2.0) -> Path:
    """A finished export run of a network of a million parameters; 1.0 times smaller: nothing was cut out."""
    folder = RunFolder(root / cell.stage / cell.name)
    cut = times_smaller > 1
    summary = {
        "name": cell.name,
        "run": f"runs/pretrain/{cell.name}",
        "dataset": cell.dataset,
        "model": cell.model,
        "network": cell.network,
        "seed": cell.seed,
        "channels": {
            "dense": 448,
            "shrunk": round(448 / times_smaller),
            "reasons": {"zero": 448 - round(448 / times_smaller), "unread": 0, "constant": 0},
            "groups": [],
        },
        "parameters": {"dense": 1_000_000, "shrunk": round(1_000_000 / times_smaller)},
        "flops": {"dense": 80_000_000, "shrunk": round(80_000_000 / times_smaller)},
        "latency_ms": {size: {"dense": ms, "shrunk": ms / 1.6} for size, ms in TIMES} if cut else {},
        "runtimes": {
            "latency_ms": {size: {"fp32": ms, "bf16": ms / 2, "sparse bf16": ms / 8} for size, ms in TIMES},
            "layer_latency_ms": {"conv1": {"fp32": 1.0, "bf16": 0.5, "sparse bf16": 0.25}},
        },
        "max_difference": 2.5e-6,
        "onnx_max_difference": 1e-6,
        "bytes": {"dense": 4_000_000, "packed": 1_000_000},
        "compression": 4.0,
        "environment": {key: ENVIRONMENT[key] for key in ("hardware", "torch", "git_revision", "git_dirty")},
    }
    folder.write_json("summary.json", summary)
    return folder.path
