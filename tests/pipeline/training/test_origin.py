"""Where a run says that it comes from."""

import subprocess

from pipeline.training.origin import provenance


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
