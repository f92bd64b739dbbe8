"""Table 4 at a small size, on real photographs where they are at hand."""

import csv
import json

import pytest

from tests.helpers.image_folder import photographs
from tests.helpers.needs import needs_ffcv
from tests.helpers.project import Project

pytestmark = needs_ffcv

SECTIONS = ("granet", "granet_s2s")
RECIPE = (
    "recipe=table4",
    f"grid.methods=[{','.join(SECTIONS)}]",
    *("data.train_size=40", "data.test_size=20", "data.image_size=64"),
    *("train.epochs=2", "train.batch_size=20", "train.warmup_epochs=0", "train.precision=fp32"),
    *("granet.tf=1ep", *(f"{section}.update_interval=auto" for section in SECTIONS)),
)
DENSE = "imagenet-resnet50-0"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The recipe, run once."""
    project = Project(tmp_path_factory.mktemp("imagenet"))
    root = photographs(tmp_path_factory.mktemp("photographs"))
    project.params(*RECIPE, f"data.root={root}")
    project.python("pipeline.launch")
    return project


def test_the_runs_are_what_the_recipe_asks_for(project):
    for section in SECTIONS:
        folder = project.folder / f"runs/sparse/imagenet-resnet50-{section}-0.9-0"
        summary = json.loads((folder / "summary.json").read_text())
        assert summary["sparsity"] == pytest.approx(0.9, abs=1e-4)
        assert summary["config"]["train"]["label_smoothing"] == 0.1
        assert summary["config"]["train"]["nesterov"] is False
        assert len((folder / "history.csv").read_text().splitlines()) == 3


def test_the_report_has_table_4_and_every_layer(project):
    report = (project.folder / "reports/report.md").read_text()
    assert "Table 4" in report
    budgets = (project.folder / "reports/budgets.csv").read_text()
    layers = {row["layer"] for row in csv.DictReader(budgets.splitlines())}
    assert {"layer1.0.conv1.weight", "fc.weight"} <= layers
