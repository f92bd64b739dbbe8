"""Runs a stage again and again, kills it with SIGKILL at random points, and compares its end with an undisturbed one.

    python -m tests.helpers.killing PROJECT KILLS SEED

PROJECT is a folder with params.yaml, in which all stages are run here first. Prints, as JSON, what came of each stage.
A start costs a fork of this program, which has imported all that stages need: so hundreds of kills take minutes. Half
of the kills are at a random moment, half at a random operation on a file: within the writing of a checkpoint, or
between two results.
"""

import csv
import io
import json
import os
import random
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from granet.training import checkpoint
from granet.training.history import TIME_COLUMNS
from pipeline import plasticity, prepare, train

CELL = "digits-resnet20"
COMMANDS: dict[str, tuple[Callable[[list[str]], Any], list[str], str]] = {
    "prepare": (prepare.main, ["dataset=digits"], "data/prepared/digits"),
    "dense": (train.main, ["dense"], f"runs/dense/{CELL}-0"),
    "sparse": (train.main, ["sparse", "method=granet"], f"runs/sparse/{CELL}-granet-0.98-0"),
    "after": (train.main, ["after", "method=imp"], f"runs/after/{CELL}-imp-0.98-0"),
    "reinit": (train.main, ["reinit", "method=granet"], f"runs/reinit/{CELL}-granet-0.98-0"),
    "retrain": (train.main, ["retrain", "method=granet"], f"runs/retrain/{CELL}-granet-0.98-0-lth"),
    "pretrain": (train.main, ["pretrain"], f"runs/pretrain/{CELL}-element-0.5-0"),
    "plasticity": (plasticity.main, [], f"runs/plasticity/{CELL}-element-0.5-0"),
}
"""By stage: what runs it, with which arguments, and the folder of its results."""
TIMES = (*TIME_COLUMNS, "time_s", "tracking", "run_id")
OPERATIONS = ("open", "os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir", "shutil.rmtree")
PROGRESS = re.compile(rb"epoch +(\d+)/\d+ ")


def start(stage: str, output: Path, operation: int = 0) -> int:
    """Run a stage in a process of its own, which kills itself at its n-th ``operation`` on a file; returns its pid.

    One that ends by itself writes how many operations there were.
    """
    if pid := os.fork():
        return pid
    try:
        with output.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        main, arguments, out = COMMANDS[stage]
        os.environ["DVC_STAGE"] = f"{stage}@x"
        shutil.rmtree(out, ignore_errors=True)  # as DVC does before it runs a stage
        number = kill_at(operation)
        main(arguments)
        sys.stdout.flush()
        Path("operations").write_text(str(number()))
        os._exit(0)
    except BaseException as error:
        os.write(2, repr(error).encode())
        os._exit(1)


def kill_at(operation: int) -> Callable[[], int]:
    """End this process by SIGKILL at its n-th operation on a file here; returns what tells their number so far."""
    count = 0

    def watch(event: str, arguments: tuple) -> None:
        nonlocal count
        if event in OPERATIONS and not str(arguments[0]).startswith(("/usr", "/proc", "/dev", sys.prefix)):
            count += 1
            if count == operation:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    return lambda: count


def finished(pid: int, seconds: float | None = None) -> bool:
    """Wait for a process, and kill it after some seconds; whether it ended well. An error is raised."""
    end = None if seconds is None else time.monotonic() + seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        if end is not None and time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            end = None
        time.sleep(0.002)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, Path("output").read_text()
    return not os.WIFSIGNALED(status)


def contents(folder: Path) -> dict[str, Any]:
    """All that a stage leaves, without how long it took."""
    return {
        str(path.relative_to(folder)): _content(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }


def _content(path: Path) -> Any:
    if path.suffix == ".csv":
        rows = csv.DictReader(io.StringIO(path.read_text()))
        return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]
    if path.suffix == ".json":
        values = json.loads(path.read_text())
        return {key: value for key, value in values.items() if key not in TIMES}
    if path.suffix == ".pt":
        state = checkpoint.load(path)
        assert state is not None
        return {name: value.tolist() for name, value in state["model"].items()}
    return path.read_bytes().hex()


def epochs_kept() -> int:
    """How many epochs the state of the one unfinished run has."""
    states = [checkpoint.newest(path)[0] for path in Path(".checkpoints").glob("*/last.pt")]
    return max((len(state["history"]) for state in states if state), default=0)


def branches_kept() -> int:
    """How many branches of the plasticity study are kept."""
    return sum(len(json.loads(path.read_text())) for path in Path(".checkpoints").glob("*/branches.json"))


def trial(stage: str, whole: dict, seconds: float, operations: int, draw: random.Random) -> dict[str, int]:
    """Kill a stage until it ends by itself, at the latest at its 40th start: the last three are left alone."""
    out, output = Path(COMMANDS[stage][2]), Path("output")
    shutil.rmtree(".checkpoints", ignore_errors=True)
    kills = restarts = 0
    for attempt in range(40):
        kept = branches_kept() if stage == "plasticity" else epochs_kept()
        is_left_alone = attempt >= 37
        at_operation = draw.random() < 0.5 and not is_left_alone
        pid = start(stage, output, draw.randint(1, operations) if at_operation else 0)
        is_whole = finished(pid, None if at_operation or is_left_alone else draw.uniform(0, seconds))
        first = PROGRESS.search(output.read_bytes())
        if stage == "plasticity":
            restarts += branches_kept() < kept
        elif first is not None and int(first[1]) <= kept:
            restarts += 1
        if is_whole:
            break
        kills += 1
    differing = [name for name, content in contents(out).items() if content != whole.get(name)]
    missing = sorted(whole.keys() - contents(out).keys())
    return {"kills": kills, "restarts": restarts, "differences": len(differing) + len(missing)}


def undisturbed(stage: str) -> tuple[dict, float, int]:
    """What a stage leaves, the seconds it takes, and its operations on files."""
    began = time.monotonic()
    assert finished(start(stage, Path("output")))
    seconds = time.monotonic() - began
    return contents(Path(COMMANDS[stage][2])), seconds, int(Path("operations").read_text())


def main(project: str, kills: str, seed: str) -> None:
    """Kill all stages in turn until each has had its share of the kills."""
    os.chdir(project)
    warm_up()
    draw, share, results = random.Random(int(seed)), -(-int(kills) // len(COMMANDS)), {}
    for stage in COMMANDS:
        whole, seconds, operations = undisturbed(stage)
        total = {"kills": 0, "restarts": 0, "differences": 0, "ends": 0}
        while total["kills"] < share:
            one = trial(stage, whole, seconds, operations, draw)
            total = {name: total[name] + one.get(name, 1) for name in total}
        results[stage] = total
    print(json.dumps(results))


def warm_up() -> None:
    """Import what stages import late, without starting a thread: a fork would not have it."""
    import ffcv.fields  # noqa: F401
    import matplotlib.figure  # noqa: F401
    import pandas  # noqa: F401
    import sklearn.datasets  # noqa: F401
    import torch._dynamo  # noqa: F401
    import torchvision.models  # noqa: F401


if __name__ == "__main__":
    main(*sys.argv[1:])
