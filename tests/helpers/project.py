"""A copy of this checkout as a git repository of its own, and the commands a user types in it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dvc.repo import Repo

from pipeline.params import files

ROOT = Path(__file__).parents[2]


class Project:
    """A temporary clone. Commands see this environment's python, dvc and mlflow, as in an activated .venv."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        for name in filter(None, listed.stdout.split("\0")):
            if (ROOT / name).exists() and name != "dvc.lock":
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        self.run("git", "init", "--quiet", "--initial-branch=main")
        self.run("git", "config", "user.name", "test")
        self.run("git", "config", "user.email", "test@example.org")
        self.commit("clone")

    @property
    def environment(self) -> dict[str, str]:
        """Without this process's tracking server, DVC and Python settings."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_", "PYTHON"))}
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
        return kept | {"PATH": path, "DVC_NO_ANALYTICS": "true", "COLUMNS": "100"}

    def run(
        self, *command: str, check: bool = True, timeout: float = 580
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the clone; where ``check``, a failure shows what it printed."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done

    def start(self, *command: str) -> "subprocess.Popen[str]":
        """Start a command in the clone, in a process group of its own."""
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def python(self, module: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """``python -m module arguments``."""
        return self.run("python", "-m", module, *arguments, check=check)

    def params(self, *overrides: str) -> None:
        """Write params.yaml, as ``python -m pipeline.params overrides`` does, without its slow start."""
        (self.folder / files.FILE).write_text(files.to_yaml(files.compose(overrides)))

    def stale(self) -> set[str]:
        """The stages that ``dvc status`` names: each is out of date by itself."""
        with Repo(str(self.folder)) as repo:
            return {name.rpartition(":")[2] for name in repo.status()}  # a path leads, from elsewhere

    def json(self, *command: str) -> Any:
        """Standard output of a command, parsed."""
        return json.loads(self.run(*command).stdout)

    def commit(self, message: str) -> None:
        """Commit everything that git does not ignore."""
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--allow-empty", "--message", message)


SMALL: Sequence[str] = (  # the quick recipe in seconds: the same stages, fewer and smaller steps
    "recipe=quick",
    "grid.seeds=[0]",
    "data.train_size=120",
    "data.val_size=40",
    "data.test_size=80",
    "train.epochs=2",
    "train.batch_size=40",
    "tracking.offline=true",  # MLflow's imports are the slowest part of a small run
    "gmp.update_interval=1",
    "rigl.update_interval=1",
    "granet.update_interval=1",
    "granet_s2s.update_interval=1",
)
