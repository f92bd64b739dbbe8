"""Where a run says that it comes from."""

import subprocess

from pipeline.params.files import compose
from pipeline.training.cell import cells
from pipeline.training.folder import MASKS, METRICS, MODEL, SUMMARY, RunFolder
from pipeline.training.origin import key_of, provenance


def git(*arguments: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)


def test_parameters_of_a_recipe_are_no_uncommitted_change_of_the_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("params.yaml", "update.py"):
        (tmp_path / name).write_text("a: 1\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "start")

    (tmp_path / "params.yaml").write_text("a: 2\n")
    assert provenance("code", "md5")["git_dirty"] == "false"

    (tmp_path / "update.py").write_text("a: 2\n")
    assert provenance("code", "md5")["git_dirty"] == "true"


def test_a_state_is_that_of_the_results_it_starts_from_whenever_these_were_made(tmp_path):
    params = compose(["recipe=figure2"])
    cell = next(cell for cell in cells(params) if cell.stage == "plasticity")
    for name in (MODEL, MASKS, METRICS, SUMMARY):
        (tmp_path / name).write_text("{}")

    def key() -> str:
        return key_of(
            cell, params, ("cpu", "fp32"), {"data_md5": "d", "code": "c"}, [], [RunFolder(tmp_path)]
        )

    first = key()
    (tmp_path / SUMMARY).write_text('{"time_s": 1}')
    assert key() == first
    (tmp_path / METRICS).write_text('{"test_accuracy_last": 0.5}')
    assert key() != first
