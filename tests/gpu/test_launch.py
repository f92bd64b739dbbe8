"""Launched runs: each sees its own GPU alone, and two may share one."""

import json
import os
import sys

import pytest
import torch

from pipeline.launch import local
from pipeline.launch.local import LocalExecutor, visible_devices
from tests.helpers.needs import needs_gpus
from tests.helpers.project import ROOT
from tests.helpers.waiting import exit_code

pytestmark = [pytest.mark.gpu, needs_gpus(1)]
SEES = """
import json, torch
uuids = [str(torch.cuda.get_device_properties(i).uuid) for i in range(torch.cuda.device_count())]
print(json.dumps([uuids, torch.zeros(1, device="cuda").device.index]))
"""


@pytest.fixture
def commands(monkeypatch, tmp_path):
    """Stages are commands by name, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    known: dict[str, list[str]] = {}
    monkeypatch.setattr(local, "stage_command", known.__getitem__)
    return known


def test_each_run_sees_its_own_gpu_alone(commands):
    devices = visible_devices()
    names = [f"dense@{number}" for number in range(len(devices))]
    commands |= {name: [sys.executable, "-c", SEES] for name in names}
    executor = LocalExecutor(len(devices), devices)
    jobs = [executor.start(name) for name in names]
    assert [exit_code(job) for job in jobs] == [0] * len(devices)
    seen = [json.loads(job.log.read_text().splitlines()[-1]) for job in jobs]
    uuids = [str(torch.cuda.get_device_properties(number).uuid) for number in range(len(devices))]
    assert sorted(seen) == sorted([[uuid], 0] for uuid in uuids)


def test_two_runs_share_one_gpu(commands, digits, tmp_path):
    fit = [sys.executable, str(ROOT / "tests/helpers/parallel_fit.py"), str(digits)]
    names = ["dense@a", "dense@b"]
    commands |= {name: [*fit, str(tmp_path / name), "epochs=5", "device=cuda"] for name in names}
    executor = LocalExecutor(2, visible_devices()[:1])
    jobs = [executor.start(name) for name in names]
    assert jobs[0].where == jobs[1].where
    assert [exit_code(job) for job in jobs] == [0, 0], [job.log.read_text()[-2000:] for job in jobs]
    assert all((tmp_path / name / "model.pt").exists() for name in names)
