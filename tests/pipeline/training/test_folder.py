"""pipeline.training.folder: what a run writes comes back; what is missing or broken is one line with the remedy."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from granet.models import build
from granet.types import UserError
from pipeline.training.cell import Cell
from pipeline.training.folder import RunFolder, metrics_of
from tests.helpers.runs import params_of, write_run

CELL = Cell("sparse", "digits", "resnet20", 0, method="gmp", sparsity=0.98)
REMEDY = "run the sparse stage: dvc repro sparse@digits-resnet20-gmp-0.98-0"


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A finished run whose network has random weights."""
    folder = RunFolder(write_run(tmp_path / "runs", params_of(), CELL, [0.5, 0.75]))
    save_file(build("resnet20", num_classes=10).state_dict(), folder.path / "model.safetensors")
    save_file({"conv1.weight": torch.ones(2, dtype=torch.bool)}, folder.path / "masks.safetensors")
    return folder


def test_a_summary_comes_back_as_it_was_written(folder):
    summary = folder.summary
    assert summary.name == CELL.name
    assert (summary.image_shape, summary.num_classes) == ((3, 32, 32), 10)
    assert summary.accuracy["test_accuracy_last"] == 0.75
    folder.write_json("again.json", dataclasses.asdict(summary))
    assert folder.json("again.json") == folder.json()
    assert metrics_of(summary)["inference_flops_ratio"] == pytest.approx(0.1)


def test_weights_masks_history_and_the_network_come_back(folder):
    assert list(folder.history()["test_accuracy"]) == [0.5, 0.75]
    assert folder.masks()["conv1.weight"].dtype == torch.bool
    model = folder.model()
    assert not model.training
    assert all(torch.equal(value, folder.weights()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("name", ["summary.json", "model.safetensors", "masks.safetensors", "history.csv"])
def test_a_missing_file_is_worded_alike(folder, name):
    (folder.path / name).unlink()
    reads = {
        "summary.json": lambda: folder.summary,
        "model.safetensors": folder.weights,
        "masks.safetensors": folder.masks,
        "history.csv": folder.history,
    }
    with pytest.raises(UserError) as error:
        reads[name]()
    assert str(error.value) == f"{folder.path / name} is missing; {REMEDY}"


def test_broken_files_are_one_line(folder):
    (folder.path / "model.safetensors").write_bytes(b"{")
    with pytest.raises(UserError, match=r"model\.safetensors cannot be read: .*; run the sparse stage"):
        folder.weights()
    (folder.path / "summary.json").write_text("{")
    with pytest.raises(
        UserError, match=r"summary\.json is not valid JSON; delete .*, then run the sparse stage"
    ):
        folder.json()


def test_the_summary_of_an_older_version_is_refused_by_name(folder):
    values = folder.json()
    del values["image_shape"]
    (folder.path / "summary.json").write_text(json.dumps(values))
    with pytest.raises(
        UserError, match=r"summary\.json has no image_shape: it is of no network, or of another version"
    ):
        folder.summary  # noqa: B018


def test_the_weights_of_another_network_are_refused(folder):
    save_file(build("vgg19", num_classes=10).state_dict(), folder.path / "model.safetensors")
    with pytest.raises(UserError, match="is not of this summary's network"):
        folder.model()


def test_a_folder_that_is_none_of_dvcs_says_so(tmp_path):
    with pytest.raises(UserError, match=r"summary\.json is missing; train this run again$"):
        RunFolder(tmp_path / "mine").json()


@pytest.mark.parametrize(
    ("path", "stage"),
    [
        ("runs/sparse/digits-resnet20-granet-0.9-0", "sparse@digits-resnet20-granet-0.9-0"),
        ("runs/chain/digits-resnet20-imp-0/0.9", "chain@digits-resnet20-imp-0"),
        ("runs/member/digits-resnet20-bimp-0.9-0/2", "member@digits-resnet20-bimp-0.9-0-2"),
    ],
)
def test_a_run_that_lacks_names_its_stage_as_dvc_has_it(path, stage):
    assert RunFolder(Path(path)).remedy == f"run the {path.split('/')[1]} stage: dvc repro {stage}"
