"""The workspace's own database and its artifacts: whatever the folder is called, and wherever it is moved or copied."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from secrets import token_hex
from urllib.parse import urlsplit
from urllib.request import url2pathname

import mlflow
import pytest
from mlflow import MlflowClient

from pipeline.tracking.artifacts import folder_name
from pipeline.tracking.client import Tracker
from tests.helpers.project import ROOT


@pytest.fixture(scope="module")
def new_database(tmp_path_factory):
    """A database with all its tables, which take MLflow seconds to make."""
    folder = tmp_path_factory.mktemp("new")
    command = [sys.executable, "-m", "pipeline.tracking.server"]
    subprocess.run(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, capture_output=True
    )
    return folder / "mlflow.db"


@pytest.fixture
def enter(new_database, tmp_path, monkeypatch):
    """Makes a folder below tmp_path, where it is missing, and the workspace."""
    for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)

    def change(name):
        folder = tmp_path / name
        if not folder.exists():
            folder.mkdir()
            shutil.copy(new_database, folder)
        monkeypatch.chdir(folder)
        return folder

    return change


def log(experiment="exp"):
    """One run with one artifact, a relative path; what `Tracker.wait` says of it."""
    Path("summary.json").write_text("{}")
    journal = Path(".checkpoints", token_hex(4), "mlflow")
    with Tracker() as tracker, tracker.opened(journal, experiment, "run", params={}, tags={}):
        tracker.artifacts(Path("summary.json"))
        return tracker.wait()


def artifacts_of(folder):
    return sorted(path for path in folder.rglob("summary.json") if "mlartifacts" in path.parts)


def lead_to_files(folder):
    """Whether MLflow's database has addresses under which all artifacts are found."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        addresses = database.execute("SELECT artifact_uri FROM runs").fetchall()
    files = [Path(url2pathname(urlsplit(address).path)) / "summary.json" for (address,) in addresses]
    return sorted(files) == artifacts_of(folder / "mlartifacts") and all(file.exists() for file in files)


def test_artifacts_follow_a_folder_that_was_moved(enter, tmp_path):
    old = enter("old")
    first = log()
    enter("elsewhere")
    old.rename(tmp_path / "new")
    new = enter("new")
    second = log()
    assert not old.exists()
    assert len(artifacts_of(new)) == 2
    assert lead_to_files(new)
    assert first["experiment_id"] == second["experiment_id"]


def test_a_copy_leaves_the_original_alone(enter, tmp_path):
    original = enter("original")
    log()
    shutil.copytree(original, tmp_path / "copy")
    copy = enter("copy")
    log()
    assert (len(artifacts_of(original)), len(artifacts_of(copy))) == (1, 2)


@pytest.mark.parametrize("name", ["my project ü a#b+c=d&e;f", "100% it's [what?] a%20b $HOME", "mlartifacts"])
def test_whatever_the_project_is_called(enter, tmp_path, name):
    folder = enter(name)
    assert log()["run_id"] is not None
    assert (folder / "mlflow.db").is_file()
    assert len(artifacts_of(folder / "mlartifacts")) == 1
    assert lead_to_files(folder)
    assert [path.name for path in tmp_path.iterdir()] == [name]


NAMES = [
    "a/b",
    "../outside",
    "..",
    ".",
    "/abs",
    "größe 漢",
    "a b",
    "<b>x</b>",
    "a#b",
    "100%",
    "x" * 300,
    "a\\b",
    "~",
]
LOG_ALL = """
import json, sys
from pathlib import Path
from pipeline.tracking.client import Tracker
from pipeline.tracking.sending import sync
for number, name in enumerate(json.loads(sys.argv[1])):
    tracker = Tracker(offline=True)
    with tracker.opened(Path(f".checkpoints/{number}/mlflow"), name, "run", params={}, tags={}):
        tracker.artifacts(Path("summary.json"))
sync()
"""


def test_whatever_the_experiment_is_called(enter, tmp_path):
    folder = enter("project")
    (folder / "summary.json").write_text("{}")
    command = [sys.executable, "-c", LOG_ALL, json.dumps(NAMES)]
    subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, capture_output=True)
    assert len(artifacts_of(folder / "mlartifacts")) == len(artifacts_of(tmp_path)) == len(NAMES)
    assert lead_to_files(folder)
    assert {path.name for path in (folder / "mlartifacts").iterdir()} == {folder_name(name) for name in NAMES}


def test_two_long_names_are_two_folders():
    assert folder_name("x" * 300) != folder_name("x" * 301)


def test_a_deleted_experiment_says_how_it_comes_back(enter, capfd):
    client = MlflowClient(f"sqlite:///{enter('project') / 'mlflow.db'}")
    number = log()["experiment_id"]
    client.delete_experiment(number)
    assert log()["run_id"] is None
    said = capfd.readouterr().err
    assert "experiment 'exp' was deleted" in said
    assert f"mlflow experiments restore -x {number}" in said
    client.restore_experiment(number)
    command = [sys.executable, "-m", "pipeline.tracking", "sync"]
    subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    assert len(client.search_runs([number])) == 2


def test_a_relative_address_counts_from_the_workspace(enter, monkeypatch):
    """DVC runs an experiment of its queue in a folder of its own, which it deletes."""
    workspace = enter("workspace")
    monkeypatch.setenv("DVC_ROOT", str(workspace))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///own.db")
    temporary = enter("temporary")
    assert log()["run_id"] is not None
    assert (workspace / "own.db").is_file()
    assert sorted(path.name for path in temporary.iterdir()) == [".checkpoints", "mlflow.db", "summary.json"]


@pytest.mark.parametrize("address", ["./mlruns", "nonsense://x"])
def test_an_address_that_mlflow_refuses_costs_a_line(enter, monkeypatch, capfd, address):
    enter("project")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert log()["run_id"] is None
    assert capfd.readouterr().err.count("python -m pipeline.tracking sync") == 1


def test_other_runs_that_the_environment_names_are_left_alone(enter, monkeypatch):
    enter("project")
    for name, value in {"RUN_ID": "0" * 32, "EXPERIMENT_ID": "77", "EXPERIMENT_NAME": "other"}.items():
        monkeypatch.setenv(f"MLFLOW_{name}", value)
    where = log()
    assert where["experiment"] == "exp"
    assert where["run_id"] not in (None, "0" * 32)


def test_models_follow_a_folder_that_was_moved(enter, tmp_path):
    old = enter("old")
    address = f"sqlite:///{old / 'mlflow.db'}"
    client, number = MlflowClient(address), log()["experiment_id"]
    model = client.create_logged_model(number, "net")
    (old / "MLmodel").write_text("flavors: {}\n")
    client.log_model_artifacts(model.model_id, str(old / "MLmodel"))
    client.finalize_logged_model(model.model_id, "READY")
    client.create_registered_model("cell")
    mlflow.set_tracking_uri(address)  # the registry asks by itself where a model lies
    client.create_model_version("cell", f"models:/{model.model_id}", model_id=model.model_id)
    mlflow.set_tracking_uri(None)
    old.rename(tmp_path / "new")
    new = enter("new")
    log()
    with closing(sqlite3.connect(new / "mlflow.db")) as database:
        found = database.execute(
            "SELECT artifact_location FROM logged_models UNION ALL SELECT storage_location FROM model_versions"
        ).fetchall()
    assert len(found) == 2
    for (address,) in found:
        assert (Path(url2pathname(urlsplit(address).path)) / "MLmodel").is_relative_to(new)
