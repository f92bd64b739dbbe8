"""What a finished training run leaves: the five files of its folder, and the same in MLflow."""

import json
import os
import platform
import subprocess
from pathlib import Path

import torch
from safetensors.torch import save

from granet.data import Data
from granet.history import Row, accuracies
from granet.train import Run
from pipeline.tracking import Tracker

RESULTS = ("metrics.json", "history.csv", "model.safetensors", "masks.safetensors", "summary.json")


def git(*arguments: str) -> str:
    """What git prints; nothing where there is no repository."""
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def tags_of(dvc_stage: str, data: Data) -> dict[str, str]:
    """What a run was made from and by: MLflow's tags."""
    tags = {
        "git_revision": git("rev-parse", "HEAD") or "none",
        "git_dirty": str(bool(git("status", "--porcelain", "--untracked-files=no"))).lower(),
        "dvc_stage": dvc_stage,
        "data_md5": data.md5,
    }
    dvc = {"dvc_exp_name": "DVC_EXP_NAME", "dvc_exp_baseline_rev": "DVC_EXP_BASELINE_REV"}
    return tags | {tag: os.environ[name] for tag, name in dvc.items() if name in os.environ}


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
    from pipeline.figures import run_curves

    curves = out / "curves.png"
    run_curves(history, run.title, curves)
    tracker.artifacts(*(out / file for file in RESULTS), curves)
    tracker.wait()
    curves.unlink()


def environment(run: Run, tags: dict[str, str]) -> dict[str, str]:
    """What a run was made on and from."""
    return {
        "hardware": hardware(run.device),
        "precision": run.precision,
        "torch": torch.__version__,
        **{key: tags[key] for key in ("git_revision", "git_dirty", "data_md5")},
    }


def hardware(device: torch.device) -> str:
    """What a run was trained or measured on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.processor() or platform.machine()} CPU, {torch.get_num_threads()} threads"
