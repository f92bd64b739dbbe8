"""Against real MLflow: a SQLite database. What becomes of a server that fails is in test_outage."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock
from mlflow import MlflowClient

from granet.types import UserError
from pipeline.tracking import channel
from pipeline.tracking.channel import at_hand
from pipeline.tracking.client import Tracker, flatten
from pipeline.tracking.journal import Journal, unsent
from pipeline.tracking.sending import send_others
from pipeline.tracking.server import Sender
from pipeline.workspace import tracking_uri
from tests.helpers.project import ROOT
from tests.helpers.waiting import until

FOLDER = Path(".checkpoints/key/mlflow")


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def database(workspace):
    """A client of the workspace's database."""
    return MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")


@contextmanager
def track(folder=FOLDER, **options):
    """A run, which holds its folder as a stage does: else the process of another one sends it, and clears it away."""
    about = {"params": {"train.lr": 0.1}, "tags": {"dvc_stage": "dense@x"}}
    with (
        FileLock(f"{folder.parent}.lock", timeout=0),
        Tracker(**options) as tracker,
        tracker.opened(folder, "exp", "run", **about),
    ):
        yield tracker


def test_a_run_with_params_tags_metrics_and_artifacts(workspace):
    file = workspace / "summary.json"
    file.write_text("{}")
    with track() as tracker:
        tracker.metrics({"test_accuracy": 0.5, "val_accuracy": None}, step=1)
        tracker.metrics({"test_accuracy": 0.75}, step=2)
        tracker.artifacts(file)
        file.write_text("later")
        file.unlink()
        with tracker.nested("branch", "run branch", {"rate": 0.5}):
            tracker.metrics({"change": -1.0}, step=3)
            inner = tracker.wait()
        where = tracker.wait()
    client = database(workspace)
    run = client.get_run(where["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.params == {"train.lr": "0.1"}
    assert run.data.tags["dvc_stage"] == "dense@x"
    history = client.get_metric_history(where["run_id"], "test_accuracy")
    assert [(m.step, m.value) for m in history] == [(1, 0.5), (2, 0.75)]
    assert [artifact.path for artifact in client.list_artifacts(where["run_id"])] == ["summary.json"]
    assert list((workspace / "mlartifacts" / "exp").rglob("summary.json"))
    nested = client.get_run(inner["run_id"])
    assert nested.data.tags["mlflow.parentRunId"] == where["run_id"]
    assert (nested.data.params, nested.data.metrics) == ({"rate": "0.5"}, {"change": -1.0})
    assert nested.info.status == "FINISHED"


def test_a_launcher_has_a_process_at_hand_that_serves_each_run_by_a_fork(workspace, monkeypatch):
    started = []
    with at_hand():
        monkeypatch.setattr(channel, "Process", lambda: started.append(1))
        with track() as tracker, track(Path(".checkpoints/other/mlflow")) as other:
            tracker.metrics({"test_accuracy": 0.5}, step=1)
            other.metrics({"test_accuracy": 0.75}, step=1)
            ids = [each.wait()["run_id"] for each in (tracker, other)]
    assert started == []
    runs = [database(workspace).get_run(run_id) for run_id in ids]
    assert [run.data.metrics["test_accuracy"] for run in runs] == [0.5, 0.75]
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_where_the_launcher_has_gone_a_run_has_a_process_of_its_own(workspace, monkeypatch):
    monkeypatch.setenv("GRANET_SENDER", str(workspace / "gone"))
    with track() as tracker:
        assert tracker.wait()["run_id"] is not None


def test_a_fork_that_is_killed_costs_nothing_but_the_tracking(workspace, capfd):
    with at_hand():
        with track() as tracker:
            tracker.wait()
            os.kill(int(tracker._channel._pid), signal.SIGKILL)  # type: ignore[union-attr]
            tracker.metrics({"test_accuracy": 0.5}, step=1)
        assert capfd.readouterr().err == ""
        with track():  # sends what is left of its own journal
            pass
    (run,) = database(workspace).search_runs(["1"])
    assert (run.data.metrics, run.info.status) == ({"test_accuracy": 0.5}, "FINISHED")


def test_a_queued_experiment_writes_to_the_parents_database(workspace, monkeypatch):
    parent = workspace / "parent"
    parent.mkdir()
    monkeypatch.setenv("DVC_ROOT", str(parent))
    with track(parent / FOLDER) as tracker:
        assert tracker.wait()["run_id"] is not None
    assert [path.name for path in workspace.iterdir()] == ["parent"]
    assert (parent / "mlflow.db").is_file()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert tracking_uri() == "http://127.0.0.1:9"


def test_a_run_that_was_killed_and_has_ended_since_is_no_killed_one(workspace):
    """Its journal has two openings and one close."""
    with track() as tracker:
        run = tracker.wait()["run_id"]
    journal = Journal(FOLDER)
    content = journal.calls.read_text()
    (opening,) = [line for line in content.splitlines(keepends=True) if json.loads(line)["call"] == "open"]
    journal.calls.write_text(opening + content)
    Sender(journal).abandon()
    assert database(workspace).get_run(run).info.status == "FINISHED"


def test_an_interrupted_run_goes_on_in_the_same_mlflow_run(workspace):
    with pytest.raises(KeyboardInterrupt), track() as tracker:
        tracker.metrics({"train_loss": 2.0}, step=1)
        first = tracker.wait()
        assert database(workspace).get_run(first["run_id"]).info.status == "RUNNING"
        raise KeyboardInterrupt
    assert database(workspace).get_run(first["run_id"]).info.status == "KILLED"
    with track() as tracker:
        tracker.metrics({"train_loss": 2.0}, step=1)  # seen again after the resumption
        tracker.metrics({"train_loss": 1.0}, step=2)
        second = tracker.wait()
    assert second == first
    history = database(workspace).get_metric_history(first["run_id"], "train_loss")
    assert [(m.step, m.value) for m in history] == [(1, 2.0), (2, 1.0)]
    assert database(workspace).get_run(first["run_id"]).info.status == "FINISHED"


@pytest.mark.parametrize("how", ["deleted run", "new database"])
def test_a_run_that_mlflow_has_lost_is_sent_anew_from_its_first_row(workspace, how):
    with pytest.raises(KeyboardInterrupt), track() as tracker:
        tracker.metrics({"train_loss": 2.0}, step=1)
        first = tracker.wait()
        raise KeyboardInterrupt
    if how == "deleted run":
        database(workspace).delete_run(first["run_id"])
    else:
        (workspace / "mlflow.db").unlink()
    with track() as tracker:
        tracker.metrics({"train_loss": 1.0}, step=2)
        second = tracker.wait()
    assert second["run_id"] not in (None, first["run_id"])
    client = MlflowClient(f"sqlite:////{workspace / 'mlflow.db'}")  # one that has not read the old file
    history = client.get_metric_history(second["run_id"], "train_loss")
    assert [(m.step, m.value) for m in history] == [(1, 2.0), (2, 1.0)]


def test_a_failed_run_is_marked(workspace):
    with pytest.raises(ValueError, match="boom"), track() as tracker:
        where = tracker.wait()
        raise ValueError("boom")
    assert database(workspace).get_run(where["run_id"]).info.status == "FAILED"


def test_eight_processes_open_a_new_database_at_once_and_log(workspace):
    journals = [Path(f".checkpoints/{number}/mlflow").absolute() for number in range(8)]
    for folder in journals:
        with track(folder, offline=True) as tracker:
            for step in range(30):
                tracker.metrics({"loss": float(step)}, step=step)
    send = "import sys, pathlib; from pipeline.tracking import server, journal; "
    send += "server.Sender(journal.Journal(pathlib.Path(sys.argv[1]))).send()"
    with ThreadPoolExecutor(8) as pool:
        commands = [[sys.executable, "-c", send, str(folder)] for folder in journals]
        done = list(
            pool.map(lambda command: subprocess.run(command, env=_environment(), check=False), commands)
        )
    assert [run.returncode for run in done] == [0] * 8
    client = database(workspace)
    runs = client.search_runs([client.get_experiment_by_name("exp").experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * 8
    for run in runs:
        history = client.get_metric_history(run.info.run_id, "loss")
        assert [(m.step, m.value) for m in history] == [(step, float(step)) for step in range(30)]


def _environment():
    return os.environ | {"PYTHONPATH": str(ROOT)}


def test_flatten():
    assert flatten({"a": {"b": {"c": 1}}, "d": [1, 2]}) == {"a.b.c": 1, "d": [1, 2]}


def test_a_caller_that_is_killed_leaves_a_killed_run(workspace):
    code = """
import os, signal
from pathlib import Path
from pipeline.tracking import channel
from pipeline.tracking.channel import at_hand
from pipeline.tracking.client import Tracker
tracker = Tracker()
with tracker.opened(Path("x/mlflow"), "exp", "run", params={}, tags={}):
    tracker.metrics({"train_loss": 1.0}, step=1)
    print(tracker.wait()["run_id"], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    for _ in range(100):
        if (status := database(workspace).get_run(done.stdout.strip()).info.status) == "KILLED":
            break
        time.sleep(0.1)
    assert status == "KILLED"


def test_a_run_that_was_never_opened_leaves_no_trace_and_costs_no_time(workspace):
    started = time.monotonic()
    with pytest.raises(ValueError, match="bad input"), Tracker():
        raise ValueError("bad input")
    assert time.monotonic() - started < 2
    assert list(workspace.iterdir()) == []


def test_offline_writes_the_journal_alone(workspace):
    with track(offline=True) as tracker:
        tracker.metrics({"loss": 1.0}, step=1)
        assert tracker.wait() == {"experiment": "exp", "experiment_id": None, "run_id": None}
    assert [path.name for path in workspace.iterdir()] == [".checkpoints"]
    assert [call["call"] for call, _ in Journal(FOLDER).after(0)] == ["open", "metrics", "close"]


def test_a_line_that_was_cut_off_is_written_again(workspace):
    with track(offline=True) as tracker:
        tracker.metrics({"loss": 1.0}, step=1)
    whole = Journal(FOLDER).calls.read_bytes()
    Journal(FOLDER).calls.write_bytes(whole[:-20])
    with track(offline=True):
        pass
    lines = Journal(FOLDER).calls.read_text().splitlines()
    assert [json.loads(line)["call"] for line in lines] == ["open", "metrics", "open", "close"]


def test_a_name_that_mlflow_would_not_take_as_a_parameters_is_written_otherwise(workspace):
    params = flatten({"train": {"layer_sparsity": {"layer3.*": 0.5}, "lr": 0.1}})
    about = {"params": params, "tags": {}}
    with Tracker() as tracker, tracker.opened(FOLDER, "exp", "run", **about):
        where = tracker.wait()
    known = database(workspace).get_run(where["run_id"]).data.params
    assert known == {"train.layer_sparsity.layer3._2A": "0.5", "train.lr": "0.1"}


def test_what_mlflow_refuses_of_one_run_holds_up_no_other(workspace, monkeypatch, capfd):
    # absolute: MLflow keeps what it has opened by its address, and this process opens several
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workspace / 'mlflow.db'}")
    for name, experiment in (("a", "gone"), ("b", "exp")):
        with Tracker(offline=True) as tracker:
            store = Path(".checkpoints", name)
            with tracker.opened(store / "mlflow", experiment, name, params={}, tags={}):
                tracker.metrics({"loss": 1.0}, step=1)
    client = Sender(Journal(Path(".checkpoints/b/mlflow").absolute()))._client  # makes the database
    client.delete_experiment(client.create_experiment("gone"))
    with pytest.raises(UserError, match="experiment 'gone' was deleted"):
        send_others()
    (run,) = client.search_runs([client.get_experiment_by_name("exp").experiment_id])
    assert run.data.metrics == {"loss": 1.0}
    assert [store.name for store in unsent()] == ["a"]
    with track() as tracker:
        assert tracker.wait()["run_id"]
        until(
            lambda: (
                "refuses what another run has left: experiment 'gone' was deleted" in capfd.readouterr().err
            )
        )
    assert not Journal(FOLDER).trouble.exists() and [store.name for store in unsent()] == ["a"]


def test_a_study_that_goes_on_under_another_experiment_stays_in_one(workspace):
    ids = []
    for experiment in ("figure2", "figure3"):
        with (
            Tracker() as tracker,
            tracker.opened(FOLDER, experiment, "run", params={}, tags={}),
            tracker.nested(experiment, "branch", {}),
        ):
            ids.append(tracker.wait())
    assert ids[0]["experiment_id"] == ids[1]["experiment_id"]


def test_a_server_in_trouble_is_not_waited_for_in_the_midst_of_a_run(workspace, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with track() as tracker:
        assert tracker.wait()["run_id"] is None
        began = time.monotonic()
        for number in range(20):
            with tracker.nested(str(number), "branch", {}):
                assert tracker.wait(is_last=False)["run_id"] is None
        assert time.monotonic() - began < 5
