"""What the training stages share: one cell of the grid in, one folder of results out."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from granet.common import distributed, signals
from granet.common.files import link_or_copy
from granet.data import open_data
from granet.data.index import read_index
from granet.training.device import pick_device, pick_precision
from granet.training.diagnostics import Diagnostics
from granet.training.history import Row
from granet.training.loop import fit
from granet.training.run import Run, prepare_run
from pipeline import code
from pipeline.params.schema import Params
from pipeline.params.unchanged import check_unchanged
from pipeline.tracking.client import Tracker, flatten
from pipeline.tracking.journal import FOLDER as JOURNAL
from pipeline.training.cell import Cell
from pipeline.training.checkpoints import finish, store_of
from pipeline.training.compiler import defer_compiler
from pipeline.training.folder import (
    CHECKPOINTS,
    DIAGNOSTICS,
    HISTORY,
    MODEL,
    RESULTS,
    SUMMARY,
    RunFolder,
    metrics_of,
    summary_of,
)
from pipeline.training.origin import (
    check_experiment,
    config_of,
    hardware,
    key_of,
    provenance,
    tags_of,
    versions,
)
from pipeline.training.stages import STAGES, Setup, Start, builder
from pipeline.workspace import PREPARED


@dataclass(frozen=True)
class Work:
    """A run that is ready to be trained, and where its traces go."""

    run: Run
    keep: list[int]
    """Epochs whose checkpoints are results as well."""
    config: dict[str, Any]
    environment: dict[str, str]
    store: Path
    """The folder of its checkpoints: its own, and there again after an interruption."""
    tracker: Tracker


def train(cell: Cell, params: Params, out: Path) -> None:
    """Train one cell and write its results to ``out``."""
    start = STAGES[cell.stage].start
    assert start is not None
    with opened(cell, params, start, sources_of(cell, out)) as work:
        out.mkdir(parents=True, exist_ok=True)
        with signals.requests():
            history = fit(
                work.run,
                history_csv=out / HISTORY,
                checkpoint_path=work.store / "last.pt",
                on_epoch=lambda row: work.tracker.metrics(row, step=int(row["epoch"])),
                keep=work.keep,
                diagnostics=Diagnostics(
                    out / DIAGNOSTICS,
                    lambda epoch, row: work.tracker.metrics(
                        {f"masks/{name}": row[name] for name in row if name != "sparsity"}, step=epoch
                    ),
                ),
            )
        if distributed.world().leads:
            write(work, history, RunFolder(out))


def check_recorded(cell: Cell, params: Params, out: Path) -> None:
    """Raise UserError where DVC would record results with other parameters than theirs; their state is kept."""
    if out == cell.folder:  # else there were overrides, of which DVC knows nothing
        check_unchanged(params, *declared(cell.stage, cell.method or ""))


def declared(stage: str, section: str) -> list[str]:
    """The parameters that dvc.yaml declares for a stage that trains with a method's section: sections, or keys."""
    own = [section] if stage in ("sparse", "after", "chain", "member") else []
    further = {
        "chain": ["grid.sparsities"],
        "soup": ["grid.members"],
        "pretrain": ["plasticity.epochs"],
        "plasticity": ["plasticity"],
    }
    return ["train", *own, *further.get(stage, [])]


def sources_of(cell: Cell, out: Path) -> list[RunFolder]:
    """The finished run that a run which goes to ``out`` starts from, if it does."""
    folder = cell.source_folder(out)
    return [] if folder is None else [RunFolder(folder)]


def write(work: Work, history: list[Row], folder: RunFolder) -> None:
    """The results, here and in MLflow. Its state goes last, and only when all is there: a kill before loses nothing."""
    for epoch in work.keep:
        link_or_copy(work.store / f"epoch-{epoch}.pt", folder.path / CHECKPOINTS / f"epoch-{epoch}.pt")
    summary = summary_of(work.run, history, work.config, work.environment, work.tracker.wait())
    folder.write(work.run, summary)
    work.tracker.artifacts(*(folder.file(name) for name in (*RESULTS, DIAGNOSTICS)))
    shapes = summary.image_shape, (summary.num_classes,)
    work.tracker.model(work.run.title, (MODEL, SUMMARY), *shapes, metrics_of(summary), step=len(history))
    work.tracker.curves(HISTORY, work.run.title)
    finish(work.store, folder.file(SUMMARY))


def code_of(cell: Cell, params: Params) -> str:
    """The digest of the code that a run's result depends on."""
    row = None if cell.code in code.OTHERS else params.methods[cell.code]["method"]
    return code.digest(cell.code, row)


def is_there(cell: Cell, params: Params, out: Path) -> bool:
    """Whether ``out`` has the results of this very run: the same parameters, data, code and run to start from."""
    folder, sources = RunFolder(out), sources_of(cell, out)
    if not all(each.is_finished for each in (folder, *sources)):
        return False
    device = pick_device(params.train.device)
    place = device.type, pick_precision(params.train.precision, device)
    made_from = provenance(code_of(cell, params), read_index(PREPARED / cell.dataset)[1])
    return folder.summary.environment.get("key") == key_of(cell, params, place, made_from, [], sources)


@contextmanager
def opened(
    cell: Cell, params: Params, start: Callable[[Start], Setup], sources: Sequence[RunFolder]
) -> Iterator[Work]:
    """What every training process begins with: data, run, MLflow run, and the folder of its checkpoints.

    ``sources``: the finished runs that it starts from.
    """
    check_experiment()
    if not params.train.compile:
        defer_compiler()
    if params.train.num_threads:
        torch.set_num_threads(params.train.num_threads)
    with ExitStack() as stack:
        world = stack.enter_context(distributed.joined(params.train.device))
        tracker = stack.enter_context(Tracker(active=world.leads, offline=params.tracking.offline))
        device = pick_device(params.train.device)
        data = open_data(
            PREPARED / cell.dataset,
            loader=params.data.loader,
            batch_size=params.train.batch_size,
            seed=cell.run_seed,
            num_workers=params.data.num_workers,
            device=device,
        )
        build = builder(cell.model, data.num_classes, params.train.init, data.image_shape[-1])
        method = partial(
            params.method, cell.method or "dense", cell.sparsity or 0.0, len(data.train), cell.begun
        )
        source = sources[0] if sources else RunFolder(cell.folder)
        keys = (cell.rewind, cell.network, cell.begun)
        setup = start(Start(cell.seed, build, method, source, *keys, sources, params.train.choice))
        run = prepare_run(
            cell.name,
            setup.model,
            setup.method,
            data,
            params.train_config(cell.schedule),
            seed=cell.run_seed,
            device=device,
            rewind_to=setup.rewind_to,
            choice=setup.choice,
            flops_before=setup.flops_before,
        )
        config, keep = config_of(cell, params), params.plasticity.epochs if cell.stage == "pretrain" else []
        made_from = provenance(code_of(cell, params), data.md5)
        key = key_of(cell, params, (run.device.type, run.precision), made_from, keep, sources)
        # one folder for all processes of the run
        persists = STAGES[cell.stage].along is not None
        own = store_of(key, cell.dvc_stage, persists=persists) if world.leads else nullcontext()
        store = Path(distributed.told(str(stack.enter_context(own))))
        about = {"params": flatten(config), "tags": tags_of(cell, made_from)}
        table = f"{cell.dataset}-{cell.model}"
        stack.enter_context(
            tracker.opened(store / JOURNAL, params.tracking.experiment, cell.dvc_stage, table=table, **about)
        )
        stack.enter_context(tracker.watched())
        images = {split: each.num_images for split, each in {"train": data.train, **data.evaluated}.items()}
        profile = {"num_images": images, "image_shape": data.image_shape, "num_classes": data.num_classes}
        tracker.dataset(cell.dataset, data.md5, str(PREPARED / cell.dataset), profile)
        environment = {"hardware": hardware(device), "precision": run.precision, "kernels": run.arithmetic}
        if run.average.is_kept:
            environment["weights"] = run.average.words
        environment |= {**versions(), **made_from, "key": key}
        yield Work(run, keep, config, environment, store, tracker)
