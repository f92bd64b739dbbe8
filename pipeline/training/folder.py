"""What a finished training run leaves: the five files of its folder, and the same in MLflow."""

import json
from pathlib import Path

from safetensors.torch import save

from granet.training.history import Row, accuracies
from granet.training.run import Run
from pipeline.tracking.client import Tracker
from pipeline.training.environment import environment

RESULTS = ("metrics.json", "history.csv", "model.safetensors", "masks.safetensors", "summary.json")


def write(
    out: Path, run: Run, history: list[Row], config: dict, tags: dict[str, str], tracker: Tracker
) -> None:
    """The five files of a run (history.csv is already there), and the same into MLflow."""
    sparsifier, last = run.sparsifier, history[-1]
    scores = accuracies(history, run.first_final_epoch)
    metrics = scores | {
        "sparsity": sparsifier.sparsity,
        "inference_flops_ratio": last["inference_flops"] / run.dense.total,
        "train_flops_ratio": last["train_flops"] / run.dense_train_flops,
    }
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    weights = {name: value.detach().cpu().contiguous() for name, value in run.model.state_dict().items()}
    masks = {name: mask.cpu().contiguous() for name, mask in sparsifier.masks.items()}
    # save_file would make them readable by their owner only
    (out / "model.safetensors").write_bytes(save(weights))
    (out / "masks.safetensors").write_bytes(save(masks))
    summary = {
        "name": run.title,
        "config": config,
        "accuracy": scores,
        "sparsity": sparsifier.sparsity,
        "layer_sparsity": sparsifier.layer_sparsity,
        "flops": {
            "inference": last["inference_flops"],
            "inference_dense": run.dense.total,
            "training": last["train_flops"],
            "training_dense": run.dense_train_flops,
        },
        "num_images": {"train": run.data.train.num_images}
        | {split: loader.num_images for split, loader in run.data.evaluated.items()},
        "epochs": run.epochs,
        "final_sparsity_epoch": run.first_final_epoch,
        "time_s": last["time_s"],
        "environment": environment(run, tags),
        "tracking": tracker.wait(),
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    tracker.metrics(metrics, step=len(history))
    from pipeline.training.curves import run_curves

    curves = out / "curves.png"
    run_curves(history, run.title, curves)
    tracker.artifacts(*(out / file for file in RESULTS), curves)
    tracker.wait()
    curves.unlink()
