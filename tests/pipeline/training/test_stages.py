"""The stage modules as commands: alone, with bad input, and killed."""

import csv
import json
import shutil
import signal
import time

import pytest

from granet.training import checkpoint
from granet.training.history import TIME_COLUMNS
from pipeline.tracking.journal import is_cleared
from tests.helpers.project import SMALL, Project


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A clone with the small recipe and its digits prepared."""
    project = Project(tmp_path_factory.mktemp("stages"))
    project.params(*SMALL)
    project.python("pipeline.prepare")
    return project


def history(path):
    with path.open() as file:
        return [{k: v for k, v in row.items() if k not in TIME_COLUMNS} for row in csv.DictReader(file)]


def unfinished(project):
    """The folders that hold more than a journal."""
    folders = (path for path in (project.folder / ".checkpoints").iterdir() if path.is_dir())
    return [path for path in folders if not is_cleared(path)]


def test_a_killed_run_goes_on_and_ends_bit_identical(project):
    """SIGKILL after the first checkpoint of eight epochs."""
    command = [
        "python",
        "-m",
        "pipeline.train",
        "sparse",
        "method=granet",
        "train.epochs=8",
        "train.precision=fp32",
    ]
    project.run(*command, "out=whole")
    killed = project.start(*command, "out=killed")
    for _ in range(600):
        if list((project.folder / ".checkpoints").glob("*/last.pt")):
            break
        time.sleep(0.1)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    resumed = project.run(*command, "out=killed")
    assert "goes on after epoch" in resumed.stdout
    whole, again = (project.folder / name for name in ("whole", "killed"))
    assert history(again / "history.csv") == history(whole / "history.csv")
    for file in ("model.safetensors", "masks.safetensors", "metrics.json"):
        assert (again / file).read_bytes() == (whole / file).read_bytes(), file
    assert not unfinished(project)


def test_a_terminated_run_writes_its_state_and_says_how_to_go_on(project):
    """SIGTERM, as from Slurm, a shutdown or `timeout`."""
    run = project.start("python", "-m", "pipeline.train", "dense", "train.epochs=1000", "out=terminated")
    assert any("epoch   1/1000" in line for line in run.stdout)
    run.send_signal(signal.SIGTERM)
    rest, _ = run.communicate(timeout=60)
    assert run.returncode == 130
    assert rest.endswith("interrupted; run the same command again to go on\n")
    (store,) = unfinished(project)
    assert checkpoint.load(store / "last.pt")["history"]
    listed = project.python("pipeline.checkpoints").stdout
    assert "dense@digits-resnet20-0" in listed and "unfinished" in listed
    project.python("pipeline.checkpoints", "delete", "dense")
    assert not unfinished(project)


def test_two_runs_of_one_configuration_at_once_do_not_meet(project):
    command = [
        "python",
        "-m",
        "pipeline.train",
        "sparse",
        "method=set",
        "set.update_interval=1",
        "train.precision=fp32",
        "tracking.offline=false",
    ]
    both = [project.start(*command, f"out=twin{i}") for i in (1, 2)]
    printed = [run.communicate()[0] for run in both]
    assert [run.returncode for run in both] == [0, 0], printed
    weights = [(project.folder / f"twin{i}/model.safetensors").read_bytes() for i in (1, 2)]
    assert weights[0] == weights[1]
    ids = [
        json.loads((project.folder / f"twin{i}/summary.json").read_text())["tracking"]["run_id"]
        for i in (1, 2)
    ]
    assert len(set(ids)) == 2
    assert not unfinished(project)


def test_overrides_do_not_touch_the_results_of_the_pipeline(project):
    project.python("pipeline.train", "dense", "train.epochs=1", "seed=5")
    assert (project.folder / "scratch/dense/digits-resnet20-5/metrics.json").exists()
    assert not (project.folder / "runs").exists()


def test_a_summary_says_what_was_run_and_what_came_out(project):
    project.python("pipeline.train", "dense", "out=summary", "tracking.offline=false")
    summary = json.loads((project.folder / "summary/summary.json").read_text())
    assert summary["config"]["train"]["epochs"] == 2
    assert summary["num_images"] == {"train": 120, "val": 40, "test": 80}
    assert set(summary["accuracy"]) == {
        "test_accuracy_last",
        "test_accuracy_best_val",
        "test_accuracy_best_test",
    }
    assert summary["flops"]["training"] == summary["flops"]["training_dense"]
    assert len(summary["environment"]["git_revision"]) == 40
    assert (summary["image_shape"], summary["num_classes"]) == ([3, 16, 16], 10)
    assert len(summary["environment"]["code"]) == 32
    assert {"python", "torch", "torchvision", "granet"} <= set(summary["environment"])
    assert summary["tracking"]["run_id"]


def test_an_extended_method_trains_longer_and_is_compared_with_one_dense_run(project):
    project.python("pipeline.train", "sparse", "method=granet_2x", "out=longer")
    summary = json.loads((project.folder / "longer/summary.json").read_text())
    assert (summary["epochs"], len(history(project.folder / "longer/history.csv"))) == (4, 4)
    assert summary["config"]["train"]["epochs"] == 2
    assert summary["config"]["hyperparameters"]["extend"] == 2.0
    forward = summary["flops"]["inference_dense"]
    assert (
        summary["flops"]["training_dense"] == 3 * forward * 120 * 2
    )  # 120 images, the 2 epochs of a dense run


def test_after_training_starts_from_the_dense_run_and_counts_its_cost(project):
    """Two rounds of IMP, from a dense run that lies where DVC puts it."""
    project.python("pipeline.train", "dense", "seed=3")
    try:
        project.python(
            "pipeline.train", "after", "method=imp", "seed=3", "imp.prune_fraction=0.86", "out=imp"
        )
    finally:
        shutil.rmtree(project.folder / "runs")
    metrics = json.loads((project.folder / "imp/metrics.json").read_text())
    summary = json.loads((project.folder / "imp/summary.json").read_text())
    assert summary["epochs"] == 4
    assert metrics["sparsity"] == pytest.approx(0.98, abs=1e-5)
    assert metrics["train_flops_ratio"] > 1  # the dense run alone is 1


def test_a_beton_cut_short_is_refused_by_name(project):
    path = project.folder / "data/prepared/digits/train.beton"
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[: len(whole) // 2])
        done = project.python("pipeline.train", "dense", check=False)
    finally:
        path.write_bytes(whole)
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
    assert "train.beton" in done.stderr


@pytest.mark.parametrize(
    "module", ["params", "prepare", "train", "plasticity", "export", "budgets", "launch", "report", "code"]
)
def test_help_names_the_command_and_its_keys(project, module):
    shown = project.python(f"pipeline.{module}", "--help").stdout
    assert f"python -m pipeline.{module}" in shown
