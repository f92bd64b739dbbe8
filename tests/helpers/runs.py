"""Run folders with numbers chosen by a test, in the files and shapes that pipeline.runs writes. For tests only."""

import dataclasses
import json
from collections.abc import Sequence
from functools import cache
from hashlib import md5
from pathlib import Path

from granet.history import HistoryFile
from pipeline.params import Params, compose, validate
from pipeline.runs import STAGE_KEYS, Cell

DENSE_FLOPS = 1_000_000
LAYERS = {"conv1.weight": 0.5, "layer1.conv.weight": 0.9, "fc.weight": 0.7}


@cache
def _quick() -> Params:
    return compose(["recipe=quick"])


def params_of(**grid: list) -> Params:
    """The quick recipe under a grid of the test's own."""
    sections = _quick().sections()
    return validate(sections | {"grid": sections["grid"] | grid})


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
    folder = root / cell.stage / cell.name
    target = cell.sparsity or 0.0
    layer_sparsity = (LAYERS if layers is None else layers) if cell.method else {}
    inference = DENSE_FLOPS * (inference_ratio if cell.method else 1)
    with HistoryFile(folder / "history.csv") as file:
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
    scores = {
        "test_accuracy_last": accuracies[-1],
        "test_accuracy_best_val": best_val,
        "test_accuracy_best_test": max(accuracies) if best_test is None else best_test,
    }
    training_dense = 3 * DENSE_FLOPS * len(accuracies)
    summary = {
        "name": cell.name,
        "config": {
            **{key: getattr(cell, key) for key in STAGE_KEYS[cell.stage]},
            "stage": cell.stage,
            "data": dataclasses.asdict(params.data),
            "train": dataclasses.asdict(params.train),
            "hyperparameters": params.methods[cell.method or "dense"],
        },
        "accuracy": scores,
        "sparsity": target,
        "layer_sparsity": layer_sparsity,
        "flops": {
            "inference": round(inference),
            "inference_dense": DENSE_FLOPS,
            "training": round(training_dense * (training_ratio if cell.method else 1)),
            "training_dense": training_dense,
        },
        "num_images": num_images or {"train": 1437, "test": 360},
        "epochs": len(accuracies),
        "final_sparsity_epoch": 1,
        "time_s": 2.0 * len(accuracies),
        "environment": {
            "hardware": "x86_64 CPU, 2 threads",
            "precision": "fp32",
            "torch": "2.15.0",
            "git_revision": "0123456789abcdef0123456789abcdef01234567",
            "git_dirty": "false",
            "data_md5": "d41d8cd98f00b204e9800998ecf8427e",
        },
        "tracking": {
            "experiment": params.tracking.experiment,
            "run_id": md5(f"{cell.stage}@{cell.name}".encode()).hexdigest() if run_id == "auto" else run_id,
        }
        | ({"experiment_id": experiment_id} if experiment_id else {}),
    }
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    return folder
