"""What a run was made on and from: hardware, versions, git revision, data and code."""

import os
import platform
import subprocess
from importlib.metadata import version

import torch

import granet
from granet.training.run import Run


def git(*arguments: str) -> str:
    """What git prints; nothing where there is no repository."""
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def provenance(code: str, data_md5: str = "") -> dict[str, str]:
    """What a result is made from: git revision, digest of the code, md5 of the data."""
    return {
        "git_revision": git("rev-parse", "HEAD") or "none",
        "git_dirty": str(bool(git("status", "--porcelain", "--untracked-files=no"))).lower(),
        "code": code,
        "data_md5": data_md5,
    }


def tags_of(dvc_stage: str, made_from: dict[str, str]) -> dict[str, str]:
    """MLflow's tags of a run, those of DVC's experiment included where it is part of one."""
    experiment = {"dvc_exp_name": "DVC_EXP_NAME", "dvc_exp_baseline_rev": "DVC_EXP_BASELINE_REV"}
    named = {tag: os.environ[name] for tag, name in experiment.items() if name in os.environ}
    return {**made_from, "dvc_stage": dvc_stage, **named}


def environment(run: Run, made_from: dict[str, str]) -> dict[str, str]:
    """What a run was made on and from."""
    return {"hardware": hardware(run.device), "precision": run.precision, **versions(), **made_from}


def versions() -> dict[str, str]:
    """Of Python and of the packages that compute."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "granet": granet.__version__,
    }


def hardware(device: torch.device) -> str:
    """What a run was trained or measured on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.processor() or platform.machine()} CPU, {torch.get_num_threads()} threads"
