"""A network of timm by its name, through parameters, training, and back from its run's folder."""

import json
import shutil
from pathlib import Path

import pytest

from granet.types import UserError
from pipeline import train
from pipeline.params.__main__ import main as write_params
from pipeline.params.files import compose, load_grid
from pipeline.training.folder import RunFolder
from tests.helpers.project import SMALL

pytest.importorskip("timm")


@pytest.fixture
def project(tmp_path: Path, digits: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with parameters and prepared digits, in which stages run."""
    monkeypatch.chdir(tmp_path)
    for name in ("DVC_ROOT", "DVC_STAGE", "MLFLOW_TRACKING_URI", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    shutil.copytree(digits, tmp_path / "data/prepared/digits")
    write_params([*SMALL, "grid.models=[timm/test_vit]", "train.epochs=1", "train.precision=fp32"])
    return tmp_path


def test_a_timm_model_is_trained_under_a_name_without_a_slash_and_read_back(project):
    assert "timm.test_vit" in (project / "params.yaml").read_text()
    load_grid()
    train.main(["sparse", "model=timm/test_vit", "method=granet", "sparsity=0.9"])
    folder = RunFolder(Path("runs/sparse/digits-timm.test_vit-granet-0.9-0"))
    summary = folder.summary
    assert summary.sparsity == pytest.approx(0.9, abs=1e-4)
    assert json.loads(folder.file("summary.json").read_text())["environment"]["timm"]
    positions = folder.model().get_parameter("pos_embed")
    assert positions.shape[1] == (32 // 16) ** 2 + 1  # of images of 32 pixels, and not of timm's 160


def test_a_slash_in_params_yaml_is_refused_with_the_spelling(project):
    file = project / "params.yaml"
    file.write_text(file.read_text().replace("timm.test_vit", "timm/test_vit", 1))
    with pytest.raises(UserError, match=r"^grid.models=\['timm/test_vit'\] must be .* timm.NAME: "):
        load_grid()


def test_a_name_that_timm_does_not_know_is_refused_before_any_work():
    with pytest.raises(
        UserError, match=r"model='timm.test_vitt' is unknown to timm; did you mean timm.test_vit"
    ):
        compose([*SMALL, "grid.models=[timm/test_vitt]"])
