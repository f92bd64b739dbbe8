"""What a run is made from and on: parameters, data, code, hardware; and what its checkpoints are named by."""

import dataclasses
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import torch

import granet
from granet.common.processor import model_name
from granet.types import UserError
from pipeline.params.schema import Params
from pipeline.params.unchanged import deciding
from pipeline.training.cell import Cell
from pipeline.training.folder import CHECKPOINTS, SUMMARY, RunFolder
from pipeline.training.stages import STAGES
from pipeline.workspace import root


def git(*arguments: str) -> str:
    """What git prints; nothing where there is no repository, or no git."""
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""


def check_experiment() -> None:
    """Raises UserError in an experiment of DVC that could not be kept: DVC commits it, at the end of all work."""
    for key in ("user.name", "user.email"):
        variable = f"GIT_COMMITTER_{key.partition('.')[2].upper()}"
        if "DVC_EXP_NAME" in os.environ and not (
            os.environ.get(variable) or git("-C", str(root()), "config", key)
        ):
            raise UserError(
                f"dvc exp run commits what comes out, and Git has no {key}; set it: git config {key} ..."
            )


def provenance(code: str, data_md5: str) -> dict[str, str]:
    """What a result is made from: git revision, digest of the code, md5 of the data.

    Dirty: files are changed, beyond params.yaml, which every recipe writes and whose values are in the run's config.
    """
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":!/params.yaml")
    return {
        "git_revision": git("rev-parse", "HEAD") or "none",
        "git_dirty": str(bool(changed)).lower(),
        "code": code,
        "data_md5": data_md5,
    }


def made_by(module: str) -> dict[str, str]:
    """MLflow's own tags of where a run comes from: who ran which module, of which commit, branch and repository."""
    branch, origin = git("rev-parse", "--abbrev-ref", "HEAD"), git("config", "remote.origin.url")
    tags = {
        "mlflow.user": os.environ.get("USER") or os.environ.get("LOGNAME") or str(os.getuid()),
        "mlflow.source.name": module,
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": git("rev-parse", "HEAD"),
        "mlflow.source.git.branch": branch if branch != "HEAD" else "",
        "mlflow.source.git.repoURL": re.sub(r"//[^/@\s]+@", "//", origin),  # without a password
    }
    return {tag: value for tag, value in tags.items() if value}


def tags_of(cell: Cell, made_from: dict[str, str]) -> dict[str, str]:
    """MLflow's tags of a run, those of DVC's experiment included where it is part of one."""
    experiment = {"dvc_exp_name": "DVC_EXP_NAME", "dvc_exp_baseline_rev": "DVC_EXP_BASELINE_REV"}
    named = {tag: os.environ[name] for tag, name in experiment.items() if name in os.environ}
    module = "pipeline.plasticity" if cell.stage == "plasticity" else "pipeline.train"
    about = {"dvc_stage": cell.dvc_stage, "granet.cell": cell.group.name}
    return {**made_by(module), **made_from, **about, **named}


def versions() -> dict[str, str]:
    """Of Python and of the packages that compute."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "granet": granet.__version__,
        **({"timm": version("timm")} if "timm" in sys.modules else {}),
    }


def hardware(device: torch.device) -> str:
    """What a run was trained or measured on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return f"{model_name()} GPU"
    threads = torch.get_num_threads()
    return f"{model_name()} CPU, {threads} thread{'' if threads == 1 else 's'}"


def config_of(cell: Cell, params: Params) -> dict[str, Any]:
    """The configuration of a run: its cell's keys, and the sections of params.yaml that it reads."""
    return {
        **{key: getattr(cell, key) for key in STAGES[cell.stage].keys},
        "stage": cell.stage,
        **({"sparsity": cell.sparsity, "begun": cell.begun} if cell.stage == "chain" else {}),
        "data": dataclasses.asdict(params.data),
        "train": dataclasses.asdict(params.train),
        "hyperparameters": params.methods[cell.method or "dense"],
        **({"plasticity": dataclasses.asdict(params.plasticity)} if cell.stage == "plasticity" else {}),
    }


def key_of(
    cell: Cell,
    params: Params,
    place: tuple[str, str],
    made_from: dict[str, str],
    keep: list[int],
    sources: Sequence[RunFolder],
) -> str:
    """Names the checkpoint: a hash of the parameters, the data, the code, and the results that the run starts from.

    ``place``: its device and precision. ``sources``: the folders of those results.

    Not of the lists of branches of a plasticity run: another list goes on with those that are there. ``keep``: the
    epochs whose checkpoints are results as well. Nor of a summary, which says when and where a result was made.
    """
    study = {"continued": params.plasticity.continued_epochs} if cell.stage == "plasticity" else {}
    parts = [
        vars(cell),
        deciding(params.data),
        deciding(params.train),
        params.methods[cell.method or "dense"],
        study,
        keep,
        made_from["data_md5"],
        made_from["code"],
        *place,
        torch.__version__,
    ]
    digest = hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=12)
    for source in sources:
        for name in STAGES[cell.stage].reads:
            if name not in (CHECKPOINTS, SUMMARY):
                digest.update(source.file(name).read_bytes())
    return digest.hexdigest()
