"""Average the retrainings of one mask (stage soup; Zimmer et al. 2024, Sparse Model Soups).

    python -m pipeline.soup [dataset=NAME] [model=NAME] [method=NAME] [sparsity=S] [seed=N] [out=DIR]

Needs the finished runs of the stage member that grid.members names, each with its own order of images. BatchNorm's
statistics are taken anew over train.recalibrate batches; 0: over all training images.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from granet.common import distributed
from granet.common.files import made
from granet.masks import empty_layers
from granet.training.diagnostics import Diagnostics
from granet.training.evaluate import evaluate
from granet.training.history import HistoryFile, Row
from granet.training.recalibration import recalibrate
from granet.training.run import Run
from pipeline.cli import run_main
from pipeline.training.cell import run_of
from pipeline.training.folder import DIAGNOSTICS, HISTORY, RunFolder
from pipeline.training.run import check_recorded, opened, write
from pipeline.training.stages import soup


def main(arguments: Sequence[str]) -> None:
    """Average, evaluate, and write what a training run leaves; its history has one row."""
    cell, params, folder = run_of("soup", arguments)
    sources = [
        RunFolder(replace(cell, stage="member", member=number).folder) for number in params.grid.members
    ]
    out = made(folder)
    with opened(cell, params, soup, sources) as work:
        run = work.run
        row = row_of(run)
        with HistoryFile(out / HISTORY) as file:
            file.write(row)
        follower = Diagnostics(out / DIAGNOSTICS)
        follower.begin(run.sparsifier, None, writes=True)
        follower.after_epoch(1, run.sparsifier)
        work.tracker.metrics(row, step=1)
        if distributed.world().leads:
            write(replace(work, run=replace(run, epochs=1)), [row], RunFolder(out))
    check_recorded(cell, params, folder)
    print(f"{cell.name}: {len(sources)} networks averaged, test {row['test_accuracy']:.2%}")


def row_of(run: Run) -> Row:
    """The row of the history of a network that is evaluated as it is."""
    began, sparsifier = time.perf_counter(), run.sparsifier
    return {
        "epoch": 1,
        "step": 0,
        **evaluated(run, run.config.recalibrate or None),
        "train_flops": run.flops_before,
        "sparsity": sparsifier.sparsity,
        "empty_layers": len(empty_layers(sparsifier.layer_sparsity)),
        "inference_flops": run.inference_flops,
        "time_s": time.perf_counter() - began,
    }


def evaluated(run: Run, num_batches: int | None) -> Row:
    """Loss and accuracy of every split, by statistics of ``num_batches`` training batches; None: of all."""
    recalibrate(run.model, run.unaugmented(num_batches), forward=run.forward)
    row: Row = {}
    for split, loader in run.data.evaluated.items():
        batches = ((run.data.augment.evaluate(images), labels) for images, labels in loader.epoch(0))
        loss, accuracy = evaluate(run.model, batches, run.forward, run.device)
        row |= {f"{split}_loss": loss, f"{split}_accuracy": accuracy}
    return row


if __name__ == "__main__":
    run_main(main, __doc__, sys.argv[1:])
