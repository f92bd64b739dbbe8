"""Two at work in one clone: the second one says who is at work and leaves it alone; a killed one is in nobody's way."""

import os
import signal

from tests.helpers.project import SMALL, Project

GRID = (
    "grid.methods=[]",
    "grid.reinit=[]",
    "grid.retrain=[]",
    "train.epochs=30",
    "train.precision=fp32",
    "data.image_size=32",
)


def test_a_second_repro_and_a_launch_are_told_who_is_at_work_and_a_kill_costs_an_epoch(tmp_path):
    project = Project(tmp_path)
    project.params(*SMALL, *GRID)
    first = project.start("dvc", "repro")
    assert first.stdout is not None
    until_epoch = next(line for line in first.stdout if "epoch   3/30" in line)
    assert until_epoch
    second = project.run("dvc", "repro", check=False)
    assert second.returncode != 0
    assert f"(PID {first.pid}): " in second.stderr and "busy" in second.stderr
    launch = project.python("pipeline.launch", check=False)
    assert launch.returncode == 2
    assert launch.stderr.count("\n") == 1
    assert f"(PID {first.pid}): " in launch.stderr
    assert first.poll() is None
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    again = project.run("dvc", "repro")
    assert "goes on after epoch" in again.stdout
    assert "epoch   3/30" not in again.stdout
    assert project.stale() == set()


def test_a_clone_that_pulls_has_nothing_to_do(tmp_path):
    """The results go to a remote, a folder here, and come back in another clone: no stage runs there."""
    project = Project(tmp_path / "first")
    project.params(*SMALL, *GRID, "train.epochs=2")
    project.run("dvc", "repro")
    project.run("dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    project.commit("results")
    project.run("dvc", "push")
    project.run("git", "clone", "--quiet", str(project.folder), str(tmp_path / "second"))
    other = Project.__new__(Project)
    other.folder = tmp_path / "second"
    other.run("dvc", "pull")
    done = other.run("dvc", "repro")
    assert "Running stage" not in done.stdout
    assert other.stale() == set()
    name = "runs/dense/digits-resnet20-0/model.safetensors"
    assert (other.folder / name).read_bytes() == (project.folder / name).read_bytes()
