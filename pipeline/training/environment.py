"""What a run was made on and from: hardware, versions, git revision."""

import os
import platform
import subprocess

import torch

from granet.data import Data
from granet.training.run import Run


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
