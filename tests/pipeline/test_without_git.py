"""The project where Git is not as usual: no user, a detached head, a shallow clone, no repository at all."""

import shutil

import pytest

from pipeline.training.origin import provenance
from tests.helpers.project import SMALL, Project


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A clone with the small recipe; Git has no settings but the clone's."""
    project = Project(tmp_path / "project")
    project.params(*SMALL)
    project.commit("small recipe")
    (tmp_path / "gitconfig").touch()
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "EMAIL"):
        monkeypatch.delenv(name, raising=False)
    return project


def test_without_a_user_and_detached_stages_run_and_an_experiment_is_refused_before_work(project):
    project.run("git", "checkout", "--quiet", "--detach")
    (project.folder / ".git/shallow").write_text(project.run("git", "rev-parse", "HEAD").stdout)
    for key in ("user.name", "user.email"):
        project.run("git", "config", "--unset", key)
    assert "Running stage 'code'" in project.run("dvc", "repro", "code").stdout
    refused = project.run("dvc", "exp", "run", "-S", "train.lr=0.05", "dense", check=False, timeout=120)
    assert refused.returncode != 0
    lines = (refused.stdout + refused.stderr).splitlines()
    assert (
        "error: dvc exp run commits what comes out, and Git has no user.name; set it: git config user.name ..."
        in lines
    )
    assert not list((project.folder / "runs").rglob("history.csv"))


def test_without_a_repository_dvc_needs_to_be_told(project):
    shutil.rmtree(project.folder / ".git")
    refused = project.run("dvc", "repro", "code", check=False)
    assert refused.returncode != 0
    assert "is not a git repository" in refused.stderr
    project.run("dvc", "config", "--local", "core.no_scm", "true")  # as `make repro` does
    assert "Running stage 'code'" in project.run("dvc", "repro", "code").stdout


def test_without_the_program_a_run_has_no_revision(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert provenance("code", "md5")["git_revision"] == "none"
