"""What the training stages share: one cell of the grid in, one folder of results out."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from granet.common import distributed
from granet.data import open_data
from granet.method import Method
from granet.training.device import pick_device
from granet.training.loop import fit
from granet.training.run import Run, prepare_run
from granet.types import UserError
from pipeline import code
from pipeline.params import sections
from pipeline.params.schema import Params
from pipeline.tracking.client import Tracker, flatten
from pipeline.training.cell import Cell
from pipeline.training.checkpoints import config_of, key_of, shared_folder
from pipeline.training.curves import run_curves
from pipeline.training.environment import environment, provenance, tags_of
from pipeline.training.folder import CHECKPOINTS, HISTORY, RESULTS, RunFolder, metrics_of, summary_of
from pipeline.training.processes import end_with_parent, spread
from pipeline.training.stages import STAGES, Setup, Start, builder
from pipeline.workspace import PREPARED, checkpoints

StartStage = Callable[[Start], Setup]


@dataclass(frozen=True)
class Work:
    """A run that is ready to be trained, and where its traces go."""

    run: Run
    keep: Sequence[int]
    config: dict[str, Any]
    made_from: dict[str, str]
    store: Path
    """The folder of its checkpoints: its own, and there again after an interruption."""
    tracker: Tracker

    @property
    def environment(self) -> dict[str, str]:
        """What it is made on and from."""
        return environment(self.run, self.made_from)


def train(cell: Cell, params: Params, out: Path, arguments: Sequence[str]) -> None:
    """Train one cell and write its results to ``out``; ``arguments`` are those of the command, for more processes."""
    wanted, started = params.train.num_processes, distributed.num_started()
    if wanted > 1 and started == 1:
        spread("pipeline.train", arguments, wanted)
        return
    if wanted != started:  # it decides about the result, and is recorded with it
        raise UserError(
            f"train.num_processes={wanted}, but torchrun has started {started}; write train.num_processes={started}"
        )
    if started > 1:
        end_with_parent()
    start = STAGES[cell.stage].start
    assert start is not None
    with opened(cell, params, start) as work:
        out.mkdir(parents=True, exist_ok=True)
        history = fit(
            work.run,
            history_csv=out / HISTORY,
            checkpoint_path=work.store / "last.pt",
            on_epoch=lambda row: work.tracker.metrics(row, step=int(row["epoch"])),
            keep=work.keep,
        )
        if distributed.world().leads:
            _write(work, history, RunFolder(out))


def _write(work: Work, history: list, folder: RunFolder) -> None:
    """The results, here and in MLflow. Checkpoints go last, and only when all is there: a kill before loses nothing."""
    for epoch in work.keep:
        _copy(work.store / f"epoch-{epoch}.pt", folder.path / CHECKPOINTS / f"epoch-{epoch}.pt")
    summary = summary_of(work.run, history, work.config, work.environment, work.tracker.wait())
    folder.write(work.run, summary)
    work.tracker.metrics(metrics_of(summary), step=len(history))
    curves = folder.path / "curves.png"
    run_curves(history, work.run.title, curves)
    work.tracker.artifacts(*(folder.file(name) for name in RESULTS), curves)
    work.tracker.wait()
    curves.unlink()
    shutil.rmtree(work.store, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    """The same file under a second name where the file system can do that, else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@contextmanager
def opened(cell: Cell, params: Params, start: StartStage) -> Iterator[Work]:
    """What every training process begins with: data, run, MLflow run, and the folder of its checkpoints."""
    with ExitStack() as stack:
        world = stack.enter_context(distributed.joined(params.train.device))
        tracker = stack.enter_context(Tracker(active=world.leads))
        device = pick_device(params.train.device)
        data = open_data(
            PREPARED / cell.dataset,
            loader=params.data.loader,
            batch_size=params.train.batch_size,
            seed=cell.seed,
            num_workers=params.data.num_workers,
            device=device,
        )
        method = partial(method_of, cell, params, len(data.train))
        keep = params.plasticity.epochs if cell.stage == "pretrain" else ()
        setup = start(
            Start(
                seed=cell.seed,
                build=builder(cell.model, data.num_classes, params.train.init),
                method=method,
                source=RunFolder((cell.source or cell).folder),
                rewind=cell.rewind,
                network=cell.network,
                keep=keep,
            )
        )
        run = prepare_run(
            cell.name,
            setup.model,
            setup.method,
            data,
            params.train_config(cell.schedule),
            seed=cell.seed,
            device=device,
            rewind_to=setup.rewind_to,
        )
        config = config_of(cell, params)
        made_from = provenance(code.digest(*_code(cell, params)), data.md5)
        key = key_of(cell, params, run, made_from, list(setup.keep))
        store = stack.enter_context(shared_folder(checkpoints(), key))
        tracker.start(
            params.tracking.experiment,
            cell.dvc_stage,
            params=flatten(config),
            tags=tags_of(cell.dvc_stage, made_from),
            resume_file=store / "mlflow_run_id",
        )
        yield Work(run, setup.keep, config, made_from, store, tracker)


def _code(cell: Cell, params: Params) -> tuple[str, str | None]:
    """The section whose code decides the result, and its method."""
    return cell.code, None if cell.code in code.OTHERS else params.methods[cell.code]["method"]


def method_of(cell: Cell, params: Params, steps_per_epoch: int) -> Method:
    """The method of the cell's section. Raises UserError where it belongs to another stage."""
    assert cell.method is not None and cell.sparsity is not None
    values = params.methods[cell.method]
    method = sections.method(cell.method, values, params.train, cell.sparsity, steps_per_epoch)
    stage = "after" if method.family == "after_training" else "sparse"
    if stage != cell.stage:
        raise UserError(
            f"method={cell.method!r} belongs to the {stage} stage; run: python -m pipeline.train {stage} ..."
        )
    return method
