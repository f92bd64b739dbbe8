"""What MLflow's users look for beside numbers: inputs, models with a signature, tables, the registry, the machine."""

import json
import time

import mlflow
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from granet.models import build
from granet.types import UserError
from pipeline.params.files import compose
from pipeline.tracking import system
from pipeline.tracking.client import Tracker
from pipeline.tracking.journal import Journal
from pipeline.tracking.server import Sender, register_best
from pipeline.training.folder import MODEL, SUMMARY, RunFolder
from pipeline.training.origin import made_by
from pipeline.workspace import tracking_uri
from tests.helpers.runs import write_run
from tests.helpers.small_project import SPARSE

CELL = "sparse-digits-resnet20-gmp-0.9"


@pytest.fixture(autouse=True)
def _workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    # absolute: MLflow keeps what it has opened by its address, and this process opens several
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished run's folder."""
    folder = write_run(tmp_path_factory.mktemp("run"), compose(["recipe=quick"]), SPARSE, [0.5, 0.75])
    save_file(build("resnet20", num_classes=10).state_dict(), folder / MODEL)
    return folder


NAME = "digits-resnet20-granet-0_9-0"
"""Of the run digits-resnet20-granet-0.9-0: MLflow refuses the point."""


def tell(folder, key: str, accuracy: float, **params: object) -> Sender:
    """Write a run's journal, and send it."""
    store = Journal((folder.parent / f"store-{key}-{time.monotonic_ns()}").absolute())
    options = {
        "params": params,
        "tags": {"granet.cell": CELL, "mlflow.source.name": "pipeline.train"},
        "table": "digits-resnet20",
    }
    with Tracker(offline=True) as tracker, tracker.opened(store.folder, "exp", key, **options):
        tracker.dataset("digits", "d" * 32, "data/prepared/digits", {"num_classes": 10})
        tracker.artifacts(folder / MODEL, folder / SUMMARY)
        values = {"test_accuracy_last": accuracy, "test_accuracy_best_val": None}
        for _ in range(2):  # a resumed run says it again
            tracker.model(
                "digits-resnet20-granet-0.9-0", (MODEL, SUMMARY), (3, 16, 16), (10,), values, step=3
            )
    sender = Sender(store)
    sender.send()
    return sender


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")  # by mlflow.pyfunc, of itself
def test_a_run_has_its_data_set_its_table_and_a_model_that_loads(folder):
    for key, accuracy in (("a", 0.9), ("b", 0.8)):
        sender = tell(folder, key, accuracy)
    client = sender._client
    runs = {run.info.run_name: run for run in client.search_runs(["1"])}
    assert set(runs) == {"table digits-resnet20", "a", "b"}
    table = runs["table digits-resnet20"].info
    assert table.status == "FINISHED"
    assert {runs[key].data.tags["mlflow.parentRunId"] for key in "ab"} == {table.run_id}
    (used,) = runs["a"].inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("digits", "d" * 32)
    assert json.loads(used.dataset.source) == {"uri": "data/prepared/digits"}
    assert [(tag.key, tag.value) for tag in used.tags] == [("mlflow.data.context", "training")]
    (model,) = client.search_logged_models(["1"], f"source_run_id = '{runs['a'].info.run_id}'")
    assert (model.name, str(model.status), model.model_type) == (NAME, "READY", "classifier")
    assert model.tags["mlflow.source.name"] == "pipeline.train"
    assert {metric.key: metric.value for metric in model.metrics or ()} == {"test_accuracy_last": 0.9}
    history = client.get_metric_history(runs["a"].info.run_id, "test_accuracy_last")
    assert [(each.step, each.value) for each in history] == [(3, 0.9)]

    sender._sent.runs, sender._sent.offset = {}, 0  # the answers did not arrive
    sender.send()
    assert len(client.search_runs(["1"])) == 3 and len(client.search_logged_models(["1"])) == 2
    again = client.get_run(runs["b"].info.run_id)
    assert len(again.inputs.dataset_inputs) == 1
    assert len(client.get_metric_history(again.info.run_id, "test_accuracy_last")) == 1

    mlflow.set_tracking_uri(tracking_uri())
    loaded = mlflow.pyfunc.load_model(f"models:/{model.model_id}")
    assert loaded.metadata.get_input_schema().inputs[0].shape == (-1, 3, 16, 16)
    images = np.random.default_rng(0).normal(size=(2, 3, 16, 16)).astype(np.float32)
    with torch.no_grad():
        expected = RunFolder(folder).model()(torch.from_numpy(images))
    assert np.array_equal(loaded.predict(images), expected.numpy())


def test_the_best_of_each_cell_is_registered_on_request_and_keeps_its_version(folder):
    for key, accuracy in (("a", 0.8), ("b", 0.9)):
        client = tell(folder, key, accuracy)._client
    assert register_best("exp", "best") == register_best("exp", "best") == [(CELL, "1", "b")]
    assert str(client.get_model_version_by_alias(CELL, "best").version) == "1"
    tell(folder, "c", 0.95)
    assert register_best("exp", "best") == [(CELL, "2", "c")]
    assert str(client.get_model_version_by_alias(CELL, "best").version) == "2"
    tell(folder, "longer", 0.99, **{"train.epochs": 50})
    for seed in (1, 0):  # the better one first
        tell(
            folder,
            f"again {seed}",
            0.5 + seed / 10,
            **{"train.epochs": 10, "seed": seed, "train.device": f"cuda:{seed}"},
        )
    assert register_best("exp", "best") == [(CELL, "3", "again 1")]  # of the newest settings
    with pytest.raises(UserError, match="no finished model of experiment='other'"):
        register_best("other", "best")


def test_a_run_says_what_it_takes_of_the_machine(tmp_path):
    store = Journal(tmp_path / "store")
    for _ in range(2):
        with (
            Tracker(offline=True) as tracker,
            tracker.opened(store.folder, "exp", "run", params={}, tags={}),
            tracker.watched(),
        ):
            torch.rand(300, 300).inverse()
    samples = [call for call, _ in store.after(0) if call["call"] == "metrics"]
    assert [call["step"] for call in samples] == [0, 1]  # a resumed run counts on
    for call in samples:
        assert call["run"] == "" and call["values"]["system/process_memory_megabytes"] > 50
        assert call["values"]["system/process_cpu_percentage"] >= 0


def test_samples_come_by_the_clock_and_one_at_the_end():
    samples = []
    with system.watching(samples.append, period_s=0.05):
        time.sleep(0.3)
    assert 2 <= len(samples) <= 7


def test_a_run_has_mlflows_own_tags_of_where_it_comes_from(monkeypatch):
    answers = {"rev-parse --abbrev-ref HEAD": "main", "rev-parse HEAD": "a" * 40}
    answers["config remote.origin.url"] = "https://me:secret@example.org/granet.git"
    monkeypatch.setattr("pipeline.training.origin.git", lambda *words: answers.get(" ".join(words), ""))
    monkeypatch.setenv("USER", "me")
    tags = made_by("pipeline.train")
    assert tags["mlflow.source.git.repoURL"] == "https://example.org/granet.git"
    assert (tags["mlflow.source.name"], tags["mlflow.user"]) == ("pipeline.train", "me")
    assert (tags["mlflow.source.git.branch"], tags["mlflow.source.git.commit"]) == ("main", "a" * 40)
    answers.clear()  # no repository
    assert set(made_by("pipeline.train")) == {"mlflow.user", "mlflow.source.name", "mlflow.source.type"}
