import re

from rich.console import Console

from granet.common import progress
from granet.common.progress import TrainingProgress


def make(monkeypatch, *, terminal: bool) -> TrainingProgress:
    console = Console(force_terminal=terminal, width=100, record=True)
    monkeypatch.setattr(progress, "Console", lambda: console)
    return TrainingProgress("digits-resnet20-granet-0.98-0", total_steps=240, done_steps=60)


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


def test_the_bar_fits_100_columns_and_shows_what_matters(monkeypatch, capsys):
    with make(monkeypatch, terminal=True) as shown:
        shown.show(120, 0.4321, 0.876, 0.98, 1234.0)
        shown._bar.refresh()
    lines = [line for part in plain(capsys.readouterr().out).split("\r") for line in part.splitlines()]
    line = next(line for line in lines if "0.432" in line)
    assert len(line.rstrip()) <= 100
    for text in ("granet-0.98-0", "50%", "loss 0.432", "accuracy 87.6%", "sparsity 98.0%", "1,234/s"):
        assert text in line


def test_without_a_terminal_only_lines_are_printed(monkeypatch, capsys):
    with make(monkeypatch, terminal=False) as shown:
        shown.show(120, 0.4321, 0.876, 0.98, 1234.0)
        shown.line("epoch 1/20")
    assert capsys.readouterr().out == "epoch 1/20\n"


def test_numbers_are_read_back_at_most_twice_a_second(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    shown = make(monkeypatch, terminal=False)
    assert not shown.due()
    now[0] = progress.REFRESH_S
    assert shown.due()
    shown.show(1, 0.0, 0.0, 0.0, 0.0)
    assert not shown.due()
