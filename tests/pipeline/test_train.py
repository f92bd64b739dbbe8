"""A stage in two processes, as a user starts it: one set of results, one MLflow run, one line when a process dies."""

import json
import os
import re
import signal
import subprocess
import time

import pytest

from tests.helpers.project import SMALL, Project

COMMAND = [
    "python",
    "-m",
    "pipeline.train",
    "sparse",
    "method=granet",
    "train.num_processes=2",
    "train.precision=fp32",
]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("processes"))
    project.params(*SMALL, "tracking.offline=false")
    project.python("pipeline.prepare")
    return project


def test_two_processes_leave_one_set_of_results(project):
    done = project.run(*COMMAND, "out=two")
    assert len(re.findall(r"epoch +2/2", done.stdout)) == 1  # one of them speaks
    folder = project.folder / "two"
    assert {path.name for path in folder.iterdir()} == {
        "metrics.json",
        "history.csv",
        "diagnostics.csv",
        "model.safetensors",
        "masks.safetensors",
        "summary.json",
    }
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["config"]["train"]["num_processes"] == 2
    assert summary["sparsity"] == pytest.approx(0.98, abs=1e-5)
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project.folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("quick")
    assert experiment is not None
    names = {run.info.run_name for run in client.search_runs([experiment.experiment_id])}
    assert len(names) == 2 and "table digits-resnet20" in names


def test_masks_are_those_of_one_process(project):
    project.run(*COMMAND[:-2], "train.micro_batch=20", "train.precision=fp32", "out=one")
    masks = [(project.folder / name / "masks.safetensors").read_bytes() for name in ("one", "two")]
    assert masks[0] == masks[1]


def test_torchrun_with_another_number_is_refused(project, monkeypatch):
    variables = {
        "WORLD_SIZE": "4",
        "RANK": "0",
        "LOCAL_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "1",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    done = project.run(*COMMAND, "out=four", check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "error: train.num_processes=2, but torchrun has started 4; write train.num_processes=4\n"
    )
    assert not (project.folder / "four").exists()


def children(pid):
    """Processes below one, whatever their depth."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True)
    rows = [line.split(None, 2) for line in listed.stdout.splitlines()]
    found, queue = [], [str(pid)]
    while queue:
        parent = queue.pop()
        for child, its_parent, arguments in rows:
            if its_parent == parent:
                found.append((int(child), arguments))
                queue.append(child)
    return found


def ranks_in_training(project, run, out):
    """Process ids of the two, once they have finished an epoch."""
    history = project.folder / out / "history.csv"
    for _ in range(600):
        if history.exists() and history.read_text().count("\n") > 2:
            break
        time.sleep(0.1)
    ranks = [pid for pid, arguments in children(run.pid) if "-m pipeline.train sparse" in arguments]
    assert len(ranks) == 2
    return ranks


def alive(pid):
    """Whether a process runs; one that nobody has waited for does not."""
    listed = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return listed.stdout.strip()[:1] not in ("", "Z")


def test_a_process_that_dies_ends_the_run_with_one_line(project):
    run = project.start(*COMMAND, "train.epochs=500", "out=killed")
    ranks = ranks_in_training(project, run, "killed")
    started = time.monotonic()
    os.kill(max(ranks), signal.SIGKILL)
    output, _ = run.communicate(timeout=30)
    assert time.monotonic() - started < 30
    assert run.returncode == 2
    last = output.strip().splitlines()[-1]
    assert re.fullmatch(
        r"error: process [01] of 2 was killed by SIGKILL, so the others were stopped; run the same command .*",
        last,
    ), output[-2000:]
    assert not children(run.pid)


def test_a_run_that_diverges_has_said_why_and_is_no_bad_input(project):
    command = [part for part in COMMAND if part != "method=granet"]
    done = project.run(*command, "method=deep_r", "deep_r.noise=1e38", "out=diverged", check=False)
    assert done.returncode == 1
    assert "the training loss is nan in epoch 1 (step 2, train.lr=0.1, precision fp32); " in done.stderr
    last = done.stderr.splitlines()[-1]
    assert re.fullmatch(
        r"error: process [01] of 2 ended with exit status 1, so the others were stopped; see its line above",
        last,
    )


def test_ctrl_c_ends_all_processes_with_one_line(project):
    run = project.start(*COMMAND, "train.epochs=500", "out=interrupted")
    ranks = ranks_in_training(project, run, "interrupted")
    os.killpg(run.pid, signal.SIGINT)
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 130, output[-2000:]
    assert output.strip().splitlines()[-1] == "interrupted; run the same command again to go on"
    assert not any(map(alive, ranks))


def test_no_process_outlives_the_one_that_started_it(project):
    """They are in no group of its own, so SIGKILL for the group, as from the launcher, does not reach them."""
    run = project.start(*COMMAND, "train.epochs=500", "out=orphaned")
    ranks = ranks_in_training(project, run, "orphaned")
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate(timeout=30)
    for _ in range(100):
        if not any(map(alive, ranks)):
            break
        time.sleep(0.1)
    assert not any(map(alive, ranks))


def test_bad_input_is_told_once(project):
    done = project.run(*COMMAND, "train.lr=-1", check=False)
    assert done.returncode == 2
    assert done.stderr == "error: train.lr=-1.0 must be above 0: initial learning rate\n"
    done = project.python("pipeline.plasticity", "network=element-0.5", "train.num_processes=2", check=False)
    assert done.stderr.startswith("error: train.num_processes=2: the plasticity stage is one process")
