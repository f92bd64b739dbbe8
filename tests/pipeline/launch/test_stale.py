"""pipeline.launch.stale and plan: the digests of the code come first, since they tell what is out of date."""

import re
import sys

import pytest
from dvc.lock import LockError

from granet.types import UserError
from pipeline.launch import plan, stale
from pipeline.launch.job import log_path


@pytest.fixture
def code(tmp_path, monkeypatch):
    """Sets the script that stands for the stage, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def set_script(script):
        monkeypatch.setattr(plan, "stage_command", lambda stage: [sys.executable, "-c", script])

    return set_script


def test_the_code_stage_runs_here_and_now_and_has_a_log(code, capsys):
    code("print('code: 29 digests in code/')")
    plan.update_code()
    assert log_path("code").read_text() == "code: 29 digests in code/\n"
    assert capsys.readouterr().out == "code: brought up to date\n"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("import sys; print('one'); sys.exit('ERROR: two')", "two"),
        ("raise SystemExit(3)", "exit code 3"),
    ],
)
def test_its_failure_is_one_line(code, script, reason):
    code(script)
    with pytest.raises(UserError, match=f"^the stage code failed: {reason}; see logs/code.log$"):
        plan.update_code()


def test_who_is_at_work_is_named_once(monkeypatch):
    holder = "  (PID 7): dvc repro\n"

    def look():
        raise LockError(
            f"'runs/a' is busy, it is being blocked by:\n{holder * 3}\nIf there are no processes ..."
        )

    monkeypatch.setattr(plan, "look", look)
    expected = "DVC: 'runs/a' is busy, it is being blocked by: (PID 7): dvc repro; dvc status says more"
    with pytest.raises(UserError, match=f"^{re.escape(expected)}$"):
        plan.read_pipeline()


def test_what_dvc_parses_once_is_every_readers_own():
    stale.parse_once()
    from dvc.utils.serialize import YAMLError, parse_yaml

    text = "train: {epochs: [1, 2]}  # epochs\n"
    parse_yaml(text, "params.yaml")["train"]["epochs"].append(3)
    assert parse_yaml(text, "params.yaml") == {"train": {"epochs": [1, 2]}}
    assert "# epochs" in str(getattr(parse_yaml(text, "params.yaml", typ="rt"), "ca"))  # noqa: B009  (comments)
    for _ in range(2):
        with pytest.raises(YAMLError):
            parse_yaml("a: [", "params.yaml")
