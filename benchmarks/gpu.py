"""What training reaches on the GPU of this machine, in a time that is known before.

    python -m benchmarks.gpu [--minutes 8] [--device cuda]

Images per second of dense training, GraNet and the usual script (fp32/TF32, a DataLoader), taking turns, with VGG-19
and ResNet-50 of CIFAR and ResNet-50 at 224 pixels; a mask update; several runs at once on one GPU; torch.compile and
the first step. Shares are of the product of large matrices, measured in the same precision. Every row is written to
reports/gpu.json as soon as it is there; what the time has not reached, the same command goes on with.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import NoReturn

import torch
from rich.console import Console

from benchmarks.rates import Pipeline, UsualScript, at_once, multiplications_per_s, steps_of
from granet.common.files import atomic
from granet.flops import step_flops
from granet.training.device import pick_device, pick_precision
from granet.types import UserError
from pipeline.cli import run_main

OUT = Path("reports/gpu.json")
TURNS = 3
RING_AGAIN_S = 5.0
"""Where code that may not raise was under way when the time was over."""
Result = dict[str, float | str | None]


@dataclass(frozen=True)
class Settings:
    """How much is measured. ``networks``: (model, pixels); ``seconds`` of each turn; ``matrix``: its side."""

    device: torch.device
    networks: tuple[tuple[str, int], ...] = (("vgg19", 32), ("resnet50_cifar", 32), ("resnet50", 224))
    batch: int = 128
    seconds: float = 1.0
    runs: tuple[int, ...] = (1, 2, 4, 8)
    matrix: int = 8192
    num_workers: int = min(8, os.cpu_count() or 1)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see: python -m benchmarks.gpu --help")


class TimeIsOver(Exception):  # noqa: N818 (nothing is wrong)
    """The minutes are over."""


def turns(rates: dict[str, Callable[[int], float]], settings: Settings) -> Result:
    """Images per second of each, in turn, so that what else the machine does slows all alike; medians."""
    steps = {name: steps_of(rate, settings.batch, settings.seconds) for name, rate in rates.items()}
    told = [{name: rate(steps[name]) for name, rate in rates.items()} for _ in range(TURNS)]
    return {f"{name}_images_per_s": median(turn[name] for turn in told) for name in rates}


def training(model: str, side: int, settings: Settings) -> Result:
    """Dense, GraNet, with every kernel launched too, and the usual script; a mask update; the share of the peak."""
    where = model, "dense", side, settings.batch, settings.device
    dense = Pipeline(*where)
    granet = Pipeline(model, "granet", *where[2:])
    launched = Pipeline(model, "granet", *where[2:], cuda_graphs=False)
    usual = UsualScript(model, *where[2:], settings.num_workers)
    runs = {"dense": dense, "granet": granet, "launched": launched, "usual": usual}
    result = turns({name: run.rate for name, run in runs.items()}, settings)
    update_s = median(granet.update_s() for _ in range(TURNS))
    forward = dense.run.dense.total
    flops = step_flops(forward, forward, dense_gradient=False)
    return result | {"update_s": update_s, "first_step_s": dense.first_step_s, "step_flops_per_image": flops}


def compiled(model: str, side: int, settings: Settings) -> Result:
    """GraNet, as ever and by torch.compile, both replayed: first steps, then rates in turn."""
    torch.compiler.reset()
    where = model, "granet", side, settings.batch, settings.device
    eager, compiled = Pipeline(*where), Pipeline(*where, compile=True)
    result = turns({"eager": eager.rate, "compiled": compiled.rate}, settings)
    return result | {
        "eager_first_step_s": eager.first_step_s,
        "compiled_first_step_s": compiled.first_step_s,
        "compiled_update_s": median(compiled.update_s() for _ in range(TURNS)),
    }


def together(runs: int, settings: Settings) -> Result:
    """Several runs of the first network at once."""
    model, side = settings.networks[0]
    rate = at_once(runs, (model, "granet", side, settings.batch, settings.device), 2 * settings.seconds)
    if rate is None:
        return {"error": "a run could not begin, or ended"}
    return {"runs": runs, "images_per_s": rate}


def peak(settings: Settings) -> Result:
    """FLOPs per second of large matrices' products."""
    precision = pick_precision("auto", settings.device)
    return {
        "flops_per_s": multiplications_per_s(settings.matrix, precision, settings.device, settings.seconds)
    }


def rows(settings: Settings) -> Iterator[tuple[str, Callable[[], Result]]]:
    """What is measured, the most useful first."""
    yield "peak", partial(peak, settings)
    for model, side in settings.networks:
        yield f"{model} {side}", partial(training, model, side, settings)
    for runs in settings.runs:
        yield f"{settings.networks[0][0]} x {runs}", partial(together, runs, settings)
    for model, side in settings.networks:
        yield f"{model} {side} compile", partial(compiled, model, side, settings)


def about(settings: Settings) -> dict:
    """What the numbers are of."""
    device = settings.device
    on_gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else f"cpu, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "precision": pick_precision("auto", device),
        "batch": settings.batch,
        "num_workers": settings.num_workers,
        "turns": TURNS,
    }


def measure(settings: Settings, out: Path, minutes: float) -> tuple[dict, int]:
    """All rows that ``out`` lacks, for so many minutes; what it holds then, and how many rows it still lacks.

    Raises UserError where it holds numbers of something else.
    """
    report: dict = {"about": about(settings), "rows": {}}
    if out.exists():
        report["rows"] = (before := json.loads(out.read_text()))["rows"]
        if before["about"] != report["about"]:
            raise UserError(f"{out} is of {before['about']}, and this is {report['about']}; move it away")
    signal.signal(signal.SIGALRM, _ring)
    signal.setitimer(signal.ITIMER_REAL, 60 * minutes, RING_AGAIN_S)
    left = dict(rows(settings))
    try:
        for name, row in [*left.items()]:
            if "error" in report["rows"].get(name, {"error": ""}):
                report["rows"][name] = _result(row, settings.device)
                atomic(out, (json.dumps(report, indent=1) + "\n").encode())
            del left[name]
    except TimeIsOver:
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return report, len(left)


def _ring(*_: object) -> NoReturn:
    raise TimeIsOver


def _result(row: Callable[[], Result], device: torch.device) -> Result:
    try:
        return row()
    except torch.OutOfMemoryError as error:
        return {"error": str(error).splitlines()[0]}
    finally:
        if device.type == "cuda":
            torch.cuda.empty_cache()


def lines(report: dict) -> Iterator[str]:
    """The report for a person."""
    result = report["rows"]
    yield ", ".join(f"{key} {value}" for key, value in report["about"].items())
    highest = result.get("peak", {}).get("flops_per_s")
    for name, row in result.items():
        values = [
            f"{key} {value:,.4g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in row.items()
        ]
        if highest and "step_flops_per_image" in row:
            share = row["granet_images_per_s"] * row["step_flops_per_image"] / highest
            values += [f"granet / usual {row['granet_images_per_s'] / row['usual_images_per_s']:.2f}"]
            values += [f"granet / dense {row['granet_images_per_s'] / row['dense_images_per_s']:.3f}"]
            values += [f"share of the peak {share:.1%}"]
        yield f"{name}: {', '.join(values)}"


def main(arguments: list[str]) -> None:
    """Measure, write and print."""
    parser = _Parser(add_help=False)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--device", default="cuda")
    parsed = parser.parse_args(arguments)
    if not parsed.minutes > 0:
        raise UserError(f"--minutes={parsed.minutes:g} must be above 0")
    if parsed.device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(
            "there is no GPU that torch can use here, so nothing was measured (--device cpu: this machine)"
        )
    report, num_left = measure(Settings(pick_device(parsed.device)), OUT, parsed.minutes)
    console = Console(highlight=False, soft_wrap=True)
    for line in lines(report):
        console.print(line, markup=False)
    again = f"; {num_left} rows are left: run the same command again" if num_left else ""
    console.print(f"\n{len(report['rows'])} rows in {OUT}{again}", markup=False)


if __name__ == "__main__":
    run_main(main, __doc__, sys.argv[1:])
