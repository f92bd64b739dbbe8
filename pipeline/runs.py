"""What the five training stages share: one cell of the grid in, one folder of results out."""

import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

import granet
from granet.data import Data, open_data
from granet.method import Method
from granet.models import build
from granet.seeds import stable_seed
from granet.train import Run, fit, pick_device, prepare_run
from granet.types import Build, Tensors, UserError
from pipeline import resolve
from pipeline.outputs import tags_of, write
from pipeline.params import Params, load
from pipeline.tracking import Tracker, flatten, root

PREPARED = Path("data/prepared")
STAGE_KEYS = {
    "dense": ("dataset", "model", "seed"),
    "pretrain": ("dataset", "model", "network", "seed"),
    "sparse": ("dataset", "model", "method", "sparsity", "seed"),
    "after": ("dataset", "model", "method", "sparsity", "seed"),
    "reinit": ("dataset", "model", "method", "sparsity", "seed"),
    "retrain": ("dataset", "model", "method", "sparsity", "seed", "rewind"),
    "plasticity": ("dataset", "model", "network", "seed"),
    "export": ("dataset", "model", "network", "seed"),
}
SOURCES = {
    "after": "dense",
    "reinit": "sparse",
    "retrain": "sparse",
    "plasticity": "pretrain",
    "export": "pretrain",
}
"""Stages that start from a finished run, and the stage of that run."""
KEY_TYPES = {
    "dataset": str,
    "model": str,
    "seed": int,
    "method": str,
    "sparsity": float,
    "rewind": str,
    "network": str,
}


@dataclass(frozen=True)
class Cell:
    """One training run of a stage: a cell of the grid. Keys that the stage does not have are None."""

    stage: str
    dataset: str
    model: str
    seed: int
    method: str | None = None
    sparsity: float | None = None
    rewind: str | None = None
    network: str | None = None

    @property
    def name(self) -> str:
        """The run's name: its folder under runs/<stage> and its item in DVC's matrix."""
        return "-".join(str(getattr(self, key)) for key in STAGE_KEYS[self.stage])

    @property
    def source(self) -> "Cell | None":
        """The finished run that this one starts from; None: it starts from scratch."""
        stage = SOURCES.get(self.stage)
        return dataclasses.replace(self, stage=stage) if stage else None

    @property
    def folder(self) -> Path:
        """Where DVC expects the results."""
        return Path("runs") / self.stage / self.name

    @property
    def schedule(self) -> str | None:
        """The section that says how long this run trains; None: the common schedule, as the dense run's."""
        return self.method if self.stage in ("sparse", "after") else None


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


def parse(stage: str, arguments: Sequence[str]) -> tuple[Cell, Params, Path]:
    """A stage's command line: cell keys (default: the grid's first entries), out=DIR, section.key=value overrides.

    Without overrides the results go to runs/<stage>/<name>, where DVC expects them; with overrides, to scratch/.
    """
    own = dict(text.split("=", 1) for text in arguments if "=" in text and "." not in text.split("=", 1)[0])
    overrides = [text for text in arguments if text.partition("=")[0] not in own]
    for text in overrides:
        if text.startswith("data.") and text.partition("=")[0] not in ("data.loader", "data.num_workers"):
            raise UserError(
                f"{text}: the data are prepared already; change params.yaml, then: dvc repro prepare"
            )
    params = load(overrides)
    grid = params.grid
    choices = {
        "dataset": grid.datasets,
        "model": grid.models,
        "seed": grid.seeds,
        "method": {"after": grid.after, "reinit": grid.reinit, "retrain": grid.retrain}.get(
            stage, grid.methods
        ),
        "sparsity": grid.sparsities,
        "rewind": grid.rewinds,
        "network": grid.pretrain,
    }
    keys = STAGE_KEYS[stage]
    if unknown := sorted(set(own) - {*keys, "out"}):
        raise UserError(f"{unknown[0]} is an unknown key of the {stage} stage; it has {', '.join(keys)}, out")
    for key in keys:
        if key not in own and not choices[key]:
            raise UserError(f"the grid of params.yaml has no {key} for the {stage} stage; add {key}=...")
    values = {key: _typed(key, own[key]) if key in own else choices[key][0] for key in keys}
    if "method" in values and values["method"] not in params.methods:
        raise UserError(
            f"method={values['method']!r} is no section of params.yaml: {', '.join(params.methods)}"
        )
    cell = Cell(stage, **values)
    folder = Path("scratch", stage, cell.name) if overrides else cell.folder
    return cell, params, Path(own.get("out", folder))


def _typed(key: str, text: str) -> Any:
    kind = KEY_TYPES[key]
    try:
        return kind(text)
    except ValueError:
        raise UserError(f"{key}={text!r} is not valid: it must be of type {kind.__name__}") from None


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
    with opened(cell, params, start) as work:
        out.mkdir(parents=True, exist_ok=True)
        history = fit(
            work.run,
            history_csv=out / "history.csv",
            checkpoint_path=work.store / "last.pt",
            on_epoch=lambda row: work.tracker.metrics(row, step=int(row["epoch"])),
            keep=work.keep,
        )
        write(out, work.run, history, work.config, work.tags, work.tracker)
        for epoch in work.keep:
            (out / "checkpoints").mkdir(exist_ok=True)
            shutil.move(work.store / f"epoch-{epoch}.pt", out / "checkpoints" / f"epoch-{epoch}.pt")
        shutil.rmtree(work.store, ignore_errors=True)


@contextmanager
def opened(cell: Cell, params: Params, start: Callable[[Start], Setup]) -> Iterator[Work]:
    """What every training process begins with: data, run, MLflow run, and the folder of its checkpoints."""
    stage = cell.stage
    with ExitStack() as locks, Tracker() as tracker:
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
        config = _config(cell, params)
        store = locks.enter_context(_own_folder(root() / ".checkpoints", _key(config, data, run, cell)))
        tags = tags_of(f"{stage}@{cell.name}", data)
        tracker.start(
            params.tracking.experiment,
            f"{stage}@{cell.name}",
            params=flatten(config),
            tags=tags,
            resume_file=store / "mlflow_run_id",
        )
        yield Work(run, setup.keep, config, tags, store, tracker)


@contextmanager
def _own_folder(parent: Path, key: str) -> Iterator[Path]:
    """A run's checkpoint folder, which a killed run of the same configuration may have left.

    Two queued experiments may train the same cell at once: then the second one gets a folder of its own.
    """
    parent.mkdir(parents=True, exist_ok=True)
    with (parent / f"{key}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            own = parent / f"{key}-{os.getpid()}"
            yield own
            shutil.rmtree(own, ignore_errors=True)
        else:
            yield parent / key
            Path(lock.name).unlink(missing_ok=True)


def _builder(name: str, data: Data) -> Build:
    """Seed -> a freshly initialised model; the same seed gives the same weights, whatever ran before."""

    def build_from_seed(seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stable_seed("init", seed))
            return build(name, num_classes=data.num_classes)

    return build_from_seed


def _config(cell: Cell, params: Params) -> dict:
    """The resolved configuration of a run."""
    section = params.methods[cell.method or "dense"]
    return {
        **{key: getattr(cell, key) for key in STAGE_KEYS[cell.stage]},
        "stage": cell.stage,
        "data": dataclasses.asdict(params.data),
        "train": dataclasses.asdict(params.train),
        "hyperparameters": section,
        **({"plasticity": dataclasses.asdict(params.plasticity)} if cell.stage == "plasticity" else {}),
    }


def _without_grid(config: dict) -> dict:
    """A configuration without the list of branches, so that another list goes on with those that are there."""
    continued = config.get("plasticity", {}).get("continued_epochs")
    return {key: value for key, value in config.items() if key != "plasticity"} | {"continued": continued}


def _key(config: dict, data: Data, run: Run, cell: Cell) -> str:
    """Names the checkpoint: a hash of all that a run's result depends on, the code included."""
    digest = hashlib.blake2b(digest_size=12)
    parts = [_without_grid(config), data.md5, str(run.device), run.precision, torch.__version__]
    digest.update(json.dumps(parts, sort_keys=True).encode())
    for file in (*sorted(Path(granet.__file__).parent.rglob("*.py")), Path(resolve.__file__)):
        digest.update(file.read_bytes())
    if cell.source is not None:
        for file in ("masks.safetensors", "model.safetensors"):
            digest.update((cell.source.folder / file).read_bytes())
    return digest.hexdigest()
