"""What the training stages share: one cell of the grid in, one folder of results out."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from granet.common import distributed
from granet.common.seeds import stable_seed
from granet.data import Data, open_data
from granet.method import Method
from granet.models import build
from granet.training.loop import fit
from granet.training.run import Run, pick_device, prepare_run
from granet.types import Build, Tensors, UserError
from pipeline.params import sections as resolve
from pipeline.params.files import Params
from pipeline.tracking.client import Tracker, flatten
from pipeline.training.cell import Cell, parse
from pipeline.training.checkpoints import config_of, key_of, shared_folder
from pipeline.training.environment import tags_of
from pipeline.training.folder import write
from pipeline.training.processes import end_with_parent, spread
from pipeline.workspace import root

PREPARED = Path("data/prepared")


@dataclass(frozen=True)
class Start:
    """What a stage may use to decide where its run starts."""

    cell: Cell
    params: Params
    build: Build
    steps_per_epoch: int

    def method(self) -> Method:
        """The method of the cell's section. Raises UserError where it belongs to another stage."""
        cell = self.cell
        assert cell.method is not None and cell.sparsity is not None
        values = self.params.methods[cell.method]
        method = resolve.method(cell.method, values, self.params.train, cell.sparsity, self.steps_per_epoch)
        stage = "after" if method.family == "after_training" else "sparse"
        if stage != cell.stage:
            raise UserError(
                f"method={cell.method!r} belongs to the {stage} stage; run: python -m pipeline.{stage} ..."
            )
        return method

    def masks(self) -> Tensors:
        """Final masks of the run that this one starts from."""
        return self._load("masks.safetensors")

    def final(self) -> Tensors:
        """Final weights and buffers of the run that this one starts from."""
        return self._load("model.safetensors")

    def _load(self, file: str) -> Tensors:
        source = self.cell.source
        assert source is not None
        if not (path := source.folder / file).exists():
            stage = source.stage
            raise UserError(
                f"{path} is missing; run the {stage} stage first: dvc repro {stage}@{source.name}"
            )
        return load_file(path)


@dataclass(frozen=True)
class Setup:
    """What a stage trains. ``rewind_to``: the state_dict that a method with rounds goes back to."""

    model: nn.Module
    method: Method
    rewind_to: Tensors | None = None
    keep: Sequence[int] = ()
    """Epochs whose checkpoints are results as well."""


@dataclass(frozen=True)
class Work:
    """A run that is ready to be trained, and where its traces go."""

    run: Run
    keep: Sequence[int]
    config: dict
    tags: dict[str, str]
    store: Path
    """The checkpoint's folder: its own, and found again after an interruption."""
    tracker: Tracker


def run_stage(stage: str, arguments: Sequence[str], start: Callable[[Start], Setup]) -> None:
    """Train one cell and write its results; ``start`` says what is trained."""
    cell, params, out = parse(stage, arguments)
    asked, started = params.train.num_processes, distributed.num_started()
    if asked > 1 and started == 1:
        return spread(f"pipeline.{stage}", arguments, asked)
    if asked != started:  # it decides about the result, and is recorded with it
        raise UserError(
            f"train.num_processes={asked}, but torchrun has started {started}; write train.num_processes={started}"
        )
    if started > 1:
        end_with_parent()
    with opened(cell, params, start) as work:
        out.mkdir(parents=True, exist_ok=True)
        history = fit(
            work.run,
            history_csv=out / "history.csv",
            checkpoint_path=work.store / "last.pt",
            on_epoch=lambda row: work.tracker.metrics(row, step=int(row["epoch"])),
            keep=work.keep,
        )
        if not distributed.world().leads:
            return None
        write(out, work.run, history, work.config, work.tags, work.tracker)
        for epoch in work.keep:
            (out / "checkpoints").mkdir(exist_ok=True)
            shutil.move(work.store / f"epoch-{epoch}.pt", out / "checkpoints" / f"epoch-{epoch}.pt")
        shutil.rmtree(work.store, ignore_errors=True)
    return None


@contextmanager
def opened(cell: Cell, params: Params, start: Callable[[Start], Setup]) -> Iterator[Work]:
    """What every training process begins with: data, run, MLflow run, and the folder of its checkpoints."""
    stage = cell.stage
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
        setup = start(Start(cell, params, _builder(cell.model, data), len(data.train)))
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
        store = stack.enter_context(shared_folder(root() / ".checkpoints", key_of(config, data, run, cell)))
        tags = tags_of(f"{stage}@{cell.name}", data)
        tracker.start(
            params.tracking.experiment,
            f"{stage}@{cell.name}",
            params=flatten(config),
            tags=tags,
            resume_file=store / "mlflow_run_id",
        )
        yield Work(run, setup.keep, config, tags, store, tracker)


def _builder(name: str, data: Data) -> Build:
    """Seed -> a freshly initialised model; the same seed gives the same weights, whatever ran before."""

    def build_from_seed(seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stable_seed("init", seed))
            return build(name, num_classes=data.num_classes)

    return build_from_seed
