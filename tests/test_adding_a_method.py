"""docs/adding-a-method.md, executed: its code goes into the files it names, its commands run, and no more changes."""

import json
import re

import pytest

from tests.helpers.project import ROOT, Project

PAGE = (ROOT / "docs/adding-a-method.md").read_text()
SIZES = (
    "grid.seeds=[0]",
    "data.train_size=120",
    "data.val_size=40",
    "data.test_size=80",
    "train.epochs=2",
    "train.batch_size=40",
    "rigl.update_interval=auto",
)


def additions() -> dict[str, str]:
    """File -> the code that the page adds to it."""
    return dict(re.findall(r"`(\w+/[\w/.]+)`(?:(?!```).)*?```(?:python|yaml)\n(.*?)```", PAGE, re.DOTALL))


def test_the_page_adds_a_method_with_a_row_a_section_and_a_criterion(tmp_path):
    added = additions()
    assert set(added) == {
        "granet/criteria.py",
        "granet/methods/rigl_step.py",
        "granet/methods/__init__.py",
        "pipeline/conf/config.yaml",
    }
    project = Project(tmp_path)
    for file, code in added.items():
        path = project.folder / file
        path.write_text(f"{path.read_text()}\n{code}" if path.exists() else code)
    (commands,) = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    compose, repro = commands.strip().splitlines()
    project.run("bash", "-c", " ".join([compose, *SIZES]))
    project.run("bash", "-c", repro)
    summary = json.loads(
        (project.folder / "runs/sparse/digits-resnet20-rigl_step-0.98-0/summary.json").read_text()
    )
    assert summary["sparsity"] == pytest.approx(0.98, abs=1e-4)
    assert summary["config"]["hyperparameters"]["drop_fraction"] == 0.3
    assert "rigl_step" in (project.folder / "reports/report.html").read_text()
    new = project.run(
        "git", "ls-files", "--others", "--exclude-standard", "granet", "pipeline"
    ).stdout.split()
    touched = project.run("git", "diff", "--name-only").stdout.split()
    assert new == ["granet/methods/rigl_step.py"]
    assert {*new, *touched} == {*added, "params.yaml"}
