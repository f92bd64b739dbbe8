"""Against real MLflow: a SQLite database, and a server that dies."""

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from mlflow import MlflowClient

from pipeline.tracking.client import Tracker, flatten
from pipeline.workspace import tracking_uri
from tests.helpers.project import ROOT


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
def track(**options):
    with Tracker() as tracker:
        tracker.start("exp", "run", params={"train.lr": 0.1}, tags={"dvc_stage": "dense@x"}, **options)
        yield tracker


def test_a_run_with_params_tags_metrics_and_artifacts(workspace):
    file = workspace / "summary.json"
    file.write_text("{}")
    with track() as tracker:
        tracker.metrics({"test_accuracy": 0.5, "val_accuracy": None}, step=1)
        tracker.metrics({"test_accuracy": 0.75}, step=2)
        tracker.artifacts(file)
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


def test_a_queued_experiment_writes_to_the_parents_database(workspace, monkeypatch):
    parent = workspace / "parent"
    parent.mkdir()
    monkeypatch.setenv("DVC_ROOT", str(parent))
    with track() as tracker:
        assert tracker.wait()["run_id"] is not None
    assert [path.name for path in workspace.iterdir()] == ["parent"]
    assert (parent / "mlflow.db").is_file()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert tracking_uri() == "http://127.0.0.1:9"


def test_an_interrupted_run_goes_on_in_the_same_mlflow_run(workspace):
    resume = workspace / "checkpoints" / "mlflow_run_id"
    with pytest.raises(KeyboardInterrupt), track(resume_file=resume) as tracker:
        tracker.metrics({"train_loss": 2.0}, step=1)
        first = tracker.wait()
        assert database(workspace).get_run(first["run_id"]).info.status == "RUNNING"
        raise KeyboardInterrupt
    assert database(workspace).get_run(first["run_id"]).info.status == "KILLED"
    with track(resume_file=resume) as tracker:
        tracker.metrics({"train_loss": 2.0}, step=1)  # seen again after the resumption
        tracker.metrics({"train_loss": 1.0}, step=2)
        second = tracker.wait()
    assert second == first
    history = database(workspace).get_metric_history(first["run_id"], "train_loss")
    assert [(m.step, m.value) for m in history] == [(1, 2.0), (2, 1.0)]
    assert database(workspace).get_run(first["run_id"]).info.status == "FINISHED"


def test_a_failed_run_is_marked(workspace):
    with pytest.raises(ValueError, match="boom"), track() as tracker:
        where = tracker.wait()
        raise ValueError("boom")
    assert database(workspace).get_run(where["run_id"]).info.status == "FAILED"


def test_six_processes_open_a_new_database_at_once(workspace):
    def initialise(_):
        command = [sys.executable, "-c", "from pipeline.tracking.server import connect; connect()"]
        return subprocess.run(command, env=_environment(), capture_output=True, text=True, check=False)

    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(initialise, range(6)))
    assert [(run.returncode, run.stderr) for run in done if run.returncode] == []


def _environment():
    return os.environ | {"PYTHONPATH": str(ROOT)}


def test_a_server_that_dies_costs_a_warning_and_little_time(workspace, monkeypatch, capfd):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{workspace / 'server.db'}"]
    server = subprocess.Popen(
        command, cwd=workspace, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        _wait_for(port)
        started = time.monotonic()
        with track() as tracker:
            assert tracker.wait()["run_id"] is not None
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
            for step in range(100):
                tracker.metrics({"train_loss": 1.0}, step=step)
        assert time.monotonic() - started < 60
        assert capfd.readouterr().err.count("tracked no further") == 1
    finally:
        if server.poll() is None:
            server.kill()


def _wait_for(port):
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the MLflow server did not start within a minute")


def test_flatten():
    assert flatten({"a": {"b": {"c": 1}}, "d": [1, 2]}) == {"a.b.c": 1, "d": [1, 2]}


def test_a_caller_that_is_killed_leaves_a_killed_run(workspace):
    code = """
import os, signal
from pipeline.tracking.client import Tracker
tracker = Tracker()
tracker.start("exp", "run", params={}, tags={})
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


def test_a_run_that_was_never_started_leaves_no_trace_and_costs_no_time(workspace):
    started = time.monotonic()
    with pytest.raises(ValueError, match="bad input"), Tracker():
        raise ValueError("bad input")
    assert time.monotonic() - started < 2
    assert not (workspace / "mlruns").exists()
