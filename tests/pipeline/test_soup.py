"""pipeline.soup: retrainings of one mask, from the dense run to their mean in a folder of its own."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from granet import UserError
from pipeline import soup, train
from pipeline.params.__main__ import main as write_params
from pipeline.params.files import compose, load
from pipeline.report.results import read
from pipeline.training.folder import RunFolder

GRID = ("recipe=quick", "grid.seeds=[0]", "grid.methods=[]", "grid.reinit=[]", "grid.retrain=[]")
TINY = ("train.epochs=1", "train.batch_size=100", "train.kernels=dense", "train.precision=fp32")
CELL = "digits-resnet20-one_shot-0.8-0"


def test_the_mean_of_the_members_is_evaluated_by_statistics_of_its_own(tmp_path, digits, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("DVC_ROOT", "DVC_STAGE", "MLFLOW_TRACKING_URI", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    shutil.copytree(digits, tmp_path / "data/prepared/digits")
    soups = ("grid.soups=[one_shot]", "grid.sparsities=[0.8]", "grid.members=[0, 2]", "tracking.offline=true")
    write_params([*GRID, *TINY, *soups])
    train.main(["dense"])
    for member in (0, 2):
        train.main(["member", f"member={member}"])
    soup.main([])
    folders = [Path("runs/member", CELL, str(member)) for member in (0, 2)]
    first, second = (load_file(folder / "model.safetensors") for folder in folders)
    masks = load_file(folders[0] / "masks.safetensors")
    mean = load_file(Path("runs/soup", CELL, "model.safetensors"))
    assert not torch.equal(first["fc.weight"], second["fc.weight"])
    for name in first:
        if "running" not in name and "tracked" not in name:
            assert torch.allclose(mean[name], (first[name] + second[name]) / 2), name
    assert not torch.allclose(
        mean["bn1.running_mean"], (first["bn1.running_mean"] + second["bn1.running_mean"]) / 2
    )
    assert all((mean[name][~mask] == 0).all() for name, mask in masks.items())
    summary, members = RunFolder(Path("runs/soup", CELL)).summary, [RunFolder(f).summary for f in folders]
    assert (summary.epochs, summary.sparsity) == (1, members[0].sparsity)
    dense = summary.flops["training_dense"]
    assert summary.flops["training"] == sum(each.flops["training"] for each in members) - dense
    assert read(load()).runs["stage"].tolist() == ["dense", "member", "member", "soup"]
    shutil.rmtree(folders[1])
    with pytest.raises(UserError, match="run the member stage: dvc repro member@"):
        soup.main([])


@pytest.mark.parametrize("section", ["granet", "imp", "bimp", "imp_late"])
def test_what_has_no_single_mask_makes_no_soup(section):
    with pytest.raises(UserError, match=f"method='{section}' cannot make a soup"):
        compose([*GRID, f"grid.soups=[{section}]"])
