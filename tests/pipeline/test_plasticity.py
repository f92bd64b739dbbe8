"""The plasticity study through real DVC, with a real MLflow database, on digits."""

import csv
import json
import re
import signal
import time

import pytest

from tests.helpers.project import Project

TINY = (
    "recipe=plasticity_quick",
    "data.train_size=120",
    "data.val_size=40",
    "data.test_size=80",
    "train.epochs=4",
    "train.batch_size=40",
    "train.precision=fp32",
    "grid.pretrain=[element-0.5,filter-0.5]",
    "plasticity.epochs=[1,3]",
    "plasticity.rates=[0.5]",
    "plasticity.filter_rates=[0.5]",
)
ELEMENT, FILTER = (f"digits-resnet20-{network}-0" for network in ("element-0.5", "filter-0.5"))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("plasticity"))
    project.params(*TINY)
    project.commit("tiny study")
    project.python("pipeline.launch")
    return project


def branches(project, name, stage="runs/plasticity"):
    with (project.folder / stage / name / "branches.csv").open() as file:
        return list(csv.DictReader(file))


def without_time(rows):
    return [{k: v for k, v in row.items() if k not in ("time_s", "run_id")} for row in rows]


def test_every_branch_is_a_row(project):
    for name, scope in ((ELEMENT, "global"), (FILTER, "uniform")):
        rows = branches(project, name)
        keys = [(r["epoch"], r["outcome"], r["scope"], r["rate"], r["regenerated"]) for r in rows]
        assert keys == [
            (epoch, outcome, scope, "0.5", regenerated)
            for epoch in ("1", "3")
            for outcome in ("plasticity", "final")
            for regenerated in ("False", "True")
        ]
        summary = json.loads((project.folder / "runs/plasticity" / name / "summary.json").read_text())
        assert summary["num_branches"] == len(rows) == 8
        assert (summary["epochs"], summary["lr_drop_epochs"]) == (4, [2.0, 3.0])
        metrics = json.loads((project.folder / "runs/plasticity" / name / "metrics.json").read_text())
        own = [float(r["change"]) for r in rows if r["outcome"] == "final" and r["regenerated"] == "True"]
        assert metrics[f"final-{scope}-0.5-regenerated"] == pytest.approx(sum(own) / len(own))


def test_changes_are_against_the_pretrained_run(project):
    for name in (ELEMENT, FILTER):
        with (project.folder / "runs/pretrain" / name / "history.csv").open() as file:
            history = [float(row["test_accuracy"]) for row in csv.DictReader(file)]
        for row in branches(project, name):
            before = history[int(row["epoch"]) - 1] if row["outcome"] == "plasticity" else history[-1]
            assert float(row["before"]) == before
            assert float(row["change"]) == pytest.approx(float(row["after"]) - before)


def test_each_branch_is_a_nested_run(project):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project.folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("plasticity_quick")
    assert experiment is not None
    runs = {run.info.run_id: run for run in client.search_runs([experiment.experiment_id])}
    summary = json.loads((project.folder / "runs/plasticity" / ELEMENT / "summary.json").read_text())
    parent = runs[summary["tracking"]["run_id"]]
    assert parent.data.tags["mlflow.runName"] == f"plasticity@{ELEMENT}"
    rows = branches(project, ELEMENT)
    for row in rows:
        run = runs[row["run_id"]]
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.info.status == "FINISHED"
        assert run.data.params["rate"] == row["rate"]
        assert run.data.metrics["change"] == pytest.approx(float(row["change"]))
        assert run.data.metrics["lr"] == pytest.approx(float(row["lr"])) or row["outcome"] == "final"
    assert len({row["run_id"] for row in rows}) == len(rows)


def test_nothing_changed_means_nothing_to_do(project):
    done = project.run("dvc", "repro")
    assert "up to date" in done.stdout and "Running stage" not in done.stdout


def test_longer_lists_train_only_the_branches_that_are_missing(project):
    old = branches(project, ELEMENT)
    command = ["python", "-m", "pipeline.plasticity", "network=element-0.5"]
    done = project.run(*command, "plasticity.rates=[0.5,0.0]", "out=longer")
    assert "8 of 16 branches are there already" in done.stdout
    rows = branches(project, "longer", ".")
    assert [row for row in rows if row["rate"] == "0.5"] == old
    for row in rows:
        if row["rate"] == "0.0" and row["outcome"] == "final":
            assert float(row["change"]) == 0


def test_a_killed_process_goes_on_at_the_next_unfinished_branch(project):
    command = [
        "python",
        "-m",
        "pipeline.plasticity",
        "network=filter-0.5",
        "plasticity.filter_rates=[0.2]",
    ]
    killed = project.start(*command, "out=killed")
    for line in killed.stdout:
        if re.search(r"\[3/8", line):
            killed.send_signal(signal.SIGKILL)
            break
    killed.communicate()
    time.sleep(1)  # its tracking process ends the runs it left open
    resumed = project.run(*command, "out=killed")
    assert re.search(r"[23] of 8 branches are there already", resumed.stdout)
    store = next(path.parent for path in (project.folder / ".checkpoints").glob("*/branches.json"))
    assert store.is_dir()
    rows = branches(project, "killed", ".")
    for path in (project.folder / ".checkpoints").glob("*/branches.json"):
        path.unlink()
    project.run(*command, "out=whole")
    assert without_time(rows) == without_time(branches(project, "whole", "."))
