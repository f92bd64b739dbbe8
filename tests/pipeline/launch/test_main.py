"""pipeline.launch: the command line, and how many stages run at a time."""

import pytest

from granet.types import UserError
from pipeline.launch import command as launch
from pipeline.params import files as params


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-j", "0"], "argument -j: 0 must be at least 1"),
        (["-j", "many"], "argument -j: invalid int value: 'many'"),
        (["--minutes", "0"], "argument --minutes: 0 must be above 0"),
        (["--executor", "cloud"], "invalid choice: 'cloud'"),
        (["--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_a_bad_command_line_is_refused(arguments, message):
    with pytest.raises(UserError) as error:
        launch.parse(arguments)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("device", "wanted", "runs_per_gpu", "num_threads", "at_once"),
    [
        ("auto", None, 1, 1, 2),
        ("auto", None, 3, 1, 6),
        ("cuda", 5, 1, 1, 5),
        ("cpu", None, 3, "null", 1),
        ("cpu", 4, 1, 1, 4),
        ("cpu", None, 1, 1, 8),
        ("cpu", None, 1, 3, 2),
        ("cpu", None, 1, 9, 1),
    ],
)
def test_stages_at_a_time(monkeypatch, device, wanted, runs_per_gpu, num_threads, at_once):
    monkeypatch.setattr(launch, "visible_devices", lambda: ["0", "1"])
    monkeypatch.setattr(launch, "own_threads", lambda: 8)
    changes = (
        f"train.device={device}",
        f"launch.runs_per_gpu={runs_per_gpu}",
        f"train.num_threads={num_threads}",
    )
    changed = params.compose(["recipe=quick", *changes])
    assert launch.choose_executor("local", wanted, changed, ["report", "sparse@a"])[1] == at_once


@pytest.mark.parametrize(
    ("num_processes", "runs_per_gpu", "at_once"), [(2, 1, 2), (4, 1, 1), (3, 1, 1), (2, 2, 4)]
)
def test_runs_of_several_processes_at_a_time(monkeypatch, num_processes, runs_per_gpu, at_once):
    monkeypatch.setattr(launch, "visible_devices", lambda: ["0", "1", "2", "3"])
    changes = f"train.num_processes={num_processes}", f"launch.runs_per_gpu={runs_per_gpu}"
    changed = params.compose(["recipe=quick", *changes])
    assert launch.choose_executor("local", None, changed, ["report", "sparse@a"])[1] == at_once


def test_more_processes_than_devices_are_refused(monkeypatch):
    monkeypatch.setattr(launch, "visible_devices", lambda: ["0", "1"])
    changed = params.compose(["recipe=quick", "train.num_processes=4"])
    with pytest.raises(UserError, match=r"train.num_processes=4 needs as many GPUs, and this machine has 2"):
        launch.choose_executor("local", None, changed, ["report", "sparse@a"])
    assert launch.choose_executor("local", None, changed, ["prepare", "report"])[1] == 1
