"""SIGKILL at random points of every stage: the same command goes on, and ends as if nothing had happened."""

import json
import os
import subprocess
import sys

import pytest

from tests.helpers.killing import COMMANDS
from tests.helpers.project import ROOT, SMALL, Project

PARAMS = (
    *SMALL,
    "data.train_size=80",
    "data.val_size=0",
    "data.test_size=40",
    "train.epochs=3",
    "train.precision=fp32",
    "train.checkpoint_s=0.1",
    "grid.after=[imp]",
    "imp.prune_fraction=0.9",
    "grid.pretrain=[element-0.5]",
    "plasticity.epochs=[1]",
    "plasticity.rates=[0.5]",
    "plasticity.outcomes=[final]",
)


@pytest.mark.parametrize("kills", [32, pytest.param(304, marks=pytest.mark.soak)])
def test_killed_stages_go_on_and_end_bit_identical(tmp_path, kills):
    project = Project(tmp_path)
    project.params(*PARAMS)
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.killing", str(tmp_path), str(kills), "0"],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    print("\n".join(f"{stage:<11} {one}" for stage, one in results.items()))
    assert results.keys() == COMMANDS.keys()
    assert sum(one["kills"] for one in results.values()) >= kills
    assert [(one["restarts"], one["differences"]) for one in results.values()] == [(0, 0)] * len(COMMANDS)
