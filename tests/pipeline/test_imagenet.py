"""Table 4 at a small size, on real photographs where they are at hand, by dvc repro and by the launcher."""

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
def projects(tmp_path_factory):
    """The same recipe, run by dvc repro and by the launcher."""
    root = photographs(tmp_path_factory.mktemp("photographs"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # another number of threads may change the last bits
        plain, launched = (Project(tmp_path_factory.mktemp(name)) for name in ("plain", "launched"))
        for project in (plain, launched):
            project.python("pipeline.params", *RECIPE, f"data.root={root}")
        plain.run("dvc", "repro")
        launched.python("pipeline.launch", "-j", "2")
    return plain, launched


def files(project, pattern):
    folder = project.folder / "runs"
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob(pattern))}


def test_both_ways_give_the_same_results(projects):
    plain, launched = projects
    for pattern in ("metrics.json", "masks.safetensors", "model.safetensors"):
        assert files(plain, pattern) == files(launched, pattern)
        assert len(files(plain, pattern)) == 1 + len(SECTIONS)
    for name in ("train.beton", "test.beton", "index.json"):
        path = f"data/prepared/imagenet/{name}"
        assert (plain.folder / path).read_bytes() == (launched.folder / path).read_bytes()


def test_the_runs_are_what_the_recipe_asks_for(projects):
    for section in SECTIONS:
        folder = projects[0].folder / f"runs/sparse/imagenet-resnet50-{section}-0.9-0"
        summary = json.loads((folder / "summary.json").read_text())
        assert summary["sparsity"] == pytest.approx(0.9, abs=1e-4)
        assert summary["config"]["train"]["label_smoothing"] == 0.1
        assert summary["config"]["train"]["nesterov"] is False
        assert len((folder / "history.csv").read_text().splitlines()) == 3


def test_the_report_has_table_4_and_every_layer(projects):
    report = (projects[0].folder / "reports/report.md").read_text()
    assert "Table 4" in report
    budgets = (projects[0].folder / "reports/budgets.csv").read_text()
    layers = {row["layer"] for row in csv.DictReader(budgets.splitlines())}
    assert {"layer1.0.conv1.weight", "fc.weight"} <= layers
