"""The paper's claims on VGG-19 and CIFAR-10, those first that are decided soonest, for as long as there is time.

    python -m benchmarks.paper [-j N] [--minutes N] [recipe=evidence] [section.key=value ...]

Writes params.yaml from recipe=claims, or another, and the overrides (data.root=FOLDER: where CIFAR-10 is), and launches
its stages as pipeline.launch does: results go to runs/, what is there already is not run again, and runs that the time,
Ctrl-C or a kill has ended go on with the same command. At its end the report is made, of what is there.

-j N          runs at a time; without it as many on each GPU as reports/gpu.json (python -m benchmarks.gpu) says that
              pay, else launch.runs_per_gpu
--minutes N   how long the runs may take
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from granet.common.files import made
from granet.types import UserError
from pipeline.cli import run_main
from pipeline.launch.command import choose_executor, parse, work
from pipeline.launch.job import LOGS, stage_command
from pipeline.launch.local import visible_devices
from pipeline.launch.plan import REPORT, Needs, plan, read_pipeline, uses_device
from pipeline.params.__main__ import main as write_params
from pipeline.params.files import load_grid
from pipeline.params.schema import Params
from pipeline.report.paper.claims import claims
from pipeline.report.paper.numbers import ACCURACY
from pipeline.training.cell import RUNS, cells

MEASURED = Path("reports/gpu.json")
ENOUGH = 0.95
"""Of the highest rate of several runs at once: fewer that reach it leave more memory."""

Comparison = tuple[frozenset[str], str, str, float]
"""The methods of both sides, the data set, the model and the sparsity."""


def comparisons(params: Params) -> dict[Comparison, int]:
    """What the grid can compare, with the number of the paper's claims of accuracy that it is a place of."""
    grid, counts = params.grid, {}
    for claim in claims():
        for pair, dataset, model, sparsity in product(
            claim.compare, grid.datasets, grid.models, grid.sparsities
        ):
            sides = frozenset(method for side in pair for method in side)
            is_place = (
                claim.metric == ACCURACY and dataset in claim.datasets and claim.covers(model, sparsity)
            )
            if is_place and sides <= {*grid.methods}:
                place = sides, dataset, model, sparsity
                counts[place] = counts.get(place, 0) + 1
    return counts


def order(params: Params) -> Iterator[str]:
    """All runs of the grid as DVC calls them: those of the comparison first that decides most claims per run left.

    Of one comparison seed by seed, as runs of one seed are compared.
    """
    names = {
        (cell.method, cell.dataset, cell.model, cell.sparsity, cell.seed): cell.dvc_stage
        for cell in cells(params)
        if cell.stage in ("dense", "sparse", "after")
    }
    waiting, seeds = comparisons(params), params.grid.seeds

    def left(place: Comparison) -> list[str]:
        methods, dataset, model, sparsity = place
        runs = [names[method, dataset, model, sparsity, seed] for seed in seeds for method in sorted(methods)]
        return [run for run in runs if run not in told]

    told: list[str] = []
    while waiting:
        best = max(waiting, key=lambda place: (waiting[place] / max(1, len(left(place))), place[1:]))
        del waiting[best]
        told += left(best)
    yield from told
    yield from (cell.dvc_stage for cell in cells(params) if cell.dvc_stage not in told)


def in_order(planned: Needs, names: list[str]) -> Needs:
    """The same plan: what runs need first, then runs in the order of their names, then what is made of them."""
    rank = {name: number for number, name in enumerate(names)}
    last = len(names)
    return dict(
        sorted(planned.items(), key=lambda item: rank.get(item[0], last if uses_device(item[0]) else -1))
    )


def pays(path: Path) -> int | None:
    """How many runs at once on one GPU reach `ENOUGH` of the highest rate that was measured; None: it was not."""
    if not path.exists():
        return None
    rows = json.loads(path.read_text())["rows"]
    rates = {row["runs"]: row["images_per_s"] for row in rows.values() if "runs" in row}
    return min((runs for runs, rate in rates.items() if rate >= ENOUGH * max(rates.values())), default=None)


def main(arguments: list[str]) -> None:
    """Launch; exits with 1 where a stage failed."""
    overrides = [text for text in arguments if re.match(r"[a-z_0-9]+(\.[a-z_0-9]+)*=", text)]
    parsed = parse([text for text in arguments if text not in overrides])
    if parsed.targets or parsed.executor != "local":
        raise UserError("benchmarks.paper takes no targets and no executor: those are pipeline.launch's")
    devices = [] if "train.device=cpu" in overrides else visible_devices()
    if not devices and "train.device=cpu" not in overrides:
        raise UserError(
            "there is no GPU here, and each run would take days; write train.device=cpu to begin anyhow"
        )
    recipe = [] if any(text.startswith("recipe=") for text in overrides) else ["recipe=claims"]
    write_params([*recipe, *overrides])
    params = load_grid()
    made(LOGS)
    needs, stale = read_pipeline()
    planned = plan(needs, stale, set(needs) - {REPORT})
    if planned:
        at_once = parsed.at_once or (len(devices) * (pays(MEASURED) or params.launch.runs_per_gpu) or None)
        executor, at_once = choose_executor("local", at_once, params, planned)
        work(in_order(planned, [*order(params)]), len(needs), executor, at_once, parsed.minutes)
    if RUNS.exists():
        sys.exit(subprocess.run(stage_command(REPORT), check=False).returncode)  # noqa: S603 (a list of words, no shell)


if __name__ == "__main__":
    run_main(main, __doc__, sys.argv[1:])
