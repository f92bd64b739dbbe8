"""pipeline.launch.view: what a person sees."""

import io
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from pipeline.launch.job import last_lines
from pipeline.launch.plan import Schedule
from pipeline.launch.view import LaunchView


@dataclass
class Running:
    """A job that runs somewhere."""

    log: Path
    where: str = ""
    queued: bool = False

    def poll(self) -> None:
        return None

    def end(self, *, kill: bool) -> None:
        raise AssertionError("nobody ends it")


def test_the_last_lines_of_a_log_are_those_that_say_something(tmp_path):
    log = tmp_path / "log"
    assert last_lines(log, 2) == []
    log.write_bytes(b"one\n\ntwo\nbar 10%\rbar 100%\nsubmitit INFO (now) - Job completed\n\n\xff\n")
    assert last_lines(log, 2) == ["bar 100%", "\N{REPLACEMENT CHARACTER}"]


PROGRESS = "epoch   3/160  loss 0.1234  train 99.00%  val 93.00%  test 92.00%  sparsity 98.00%  1,412 image"


def test_the_table_fits_a_hundred_columns(tmp_path):
    """Four seeds two at a time: the first took 1:00, two have run for 0:40 each, one waits."""
    cells = [f"cifar100-resnet50_cifar-granet_uniform-0.98-{seed}" for seed in range(4)]
    stages = [f"sparse@{cell}" for cell in cells]
    schedule = Schedule(dict.fromkeys(stages, frozenset()))
    shown = io.StringIO()
    console = Console(width=100, file=shown)
    now = [0.0]
    view = LaunchView(schedule, 2, lambda: now[0], console)
    schedule.start(stages[0], now=0)
    schedule.done(stages[0], now=60, ran=True)
    jobs = {}
    for stage, cell in list(zip(stages, cells, strict=True))[1:3]:
        schedule.start(stage, now=60)
        log = tmp_path / cell
        log.write_text(f"{cell}: {PROGRESS}  and more\n")
        jobs[stage] = Running(log)
    view.jobs = jobs
    now[0] = 100.0
    console.print(view.table())
    assert [line.rstrip() for line in shown.getvalue().splitlines()] == [
        "1 done, 2 running, 1 waiting - 1:40, about 1:00 left  logs/STAGE.log",
        f"{stages[1]:<83}  0:40  0:20 left",
        f"  {PROGRESS}  …",
        f"{stages[2]:<83}  0:40  0:20 left",
        f"  {PROGRESS}  …",
    ]
