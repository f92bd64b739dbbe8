"""A folder with all that a user's project has, small and made without training: parameters, data, finished runs."""

import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from granet.maskable import maskable_weights
from granet.models import build
from pipeline.params.files import load
from pipeline.training.cell import Cell
from pipeline.training.folder import RunFolder, metrics_of
from tests.helpers.runs import write_branches, write_run

PARAMS = """grid:
  datasets: [digits]
  models: [resnet20]
  methods: [gmp]
  after: [sis]
  sparsities: [0.98]
  seeds: [0]
  reinit: [gmp]
  retrain: [gmp]
  pretrain: [element-0.5]
data: {train_size: 200, val_size: 40, test_size: 100}
train: {epochs: 2, batch_size: 40, precision: fp32, device: cpu}
plasticity: {epochs: [1], rates: [0.5]}
tracking: {offline: true}
dense: {method: dense}
gmp: {method: gmp, update_interval: 1it}
sis: {method: sis}
"""
DENSE = Cell("dense", "digits", "resnet20", 0)
SPARSE = Cell("sparse", "digits", "resnet20", 0, method="gmp", sparsity=0.98)
PRETRAIN = Cell("pretrain", "digits", "resnet20", 0, network="element-0.5")
PLASTICITY = Cell("plasticity", "digits", "resnet20", 0, network="element-0.5")


def write_project(prepared: Path) -> None:
    """Fill the working folder: params.yaml, the ``prepared`` digits, and runs of four stages."""
    Path("params.yaml").write_text(PARAMS)
    shutil.copytree(prepared, "data/prepared/digits")
    params = load()
    torch.manual_seed(0)
    model = build("resnet20", num_classes=10)
    masks = {name: torch.ones_like(w, dtype=torch.bool) for name, w in maskable_weights(model).items()}
    for cell in (DENSE, SPARSE, PRETRAIN):
        folder = RunFolder(write_run(Path("runs"), params, cell, [0.5, 0.75]))
        save_file(model.state_dict(), folder.path / "model.safetensors")
        save_file(masks if cell is not DENSE else {}, folder.path / "masks.safetensors")
        folder.write_json("metrics.json", metrics_of(folder.summary))
    state = {"model": model.state_dict(), "optimizer": {}, "sparsifier": {}, "history": []}
    (PRETRAIN.folder / "checkpoints").mkdir()
    torch.save(state, PRETRAIN.folder / "checkpoints/epoch-1.pt")
    write_branches(Path("runs"), params, PLASTICITY, lambda branch: 0.01)
