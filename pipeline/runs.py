"""What the four training stages share: one cell of the grid in, one folder of results out."""

import dataclasses
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import nn

import granet
from granet.data import Data, open_data
from granet.history import Row, accuracies
from granet.methods import Method
from granet.models import build
from granet.seeds import stable_seed
from granet.train import Run, fit, pick_device, prepare_run
from granet.types import Build, Tensors, UserError
from pipeline.params import Params, load
from pipeline.tracking import Tracker, flatten, root

PREPARED = Path("data/prepared")
RESULTS = ("metrics.json", "history.csv", "model.safetensors", "masks.safetensors", "summary.json")
STAGE_KEYS = {
    "dense": ("dataset", "model", "seed"),
    "sparse": ("dataset", "model", "method", "sparsity", "seed"),
    "reinit": ("dataset", "model", "method", "sparsity", "seed"),
    "retrain": ("dataset", "model", "method", "sparsity", "seed", "rewind"),
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

    @property
    def name(self) -> str:
        """The run's name: its folder under runs/<stage> and its item in DVC's matrix."""
        return "-".join(str(getattr(self, key)) for key in STAGE_KEYS[self.stage])

    @property
    def source(self) -> Path:
        """Folder of the sparse run whose mask a reinit or retrain run keeps."""
        return Path("runs/sparse") / dataclasses.replace(self, stage="sparse").name


@dataclass(frozen=True)
class Start:
    """What a stage may use to decide where its run starts."""

    cell: Cell
    params: Params
    build: Build
    steps_per_epoch: int

    def masks(self) -> Tensors:
        """Final masks of the sparse run."""
        return self._load("masks.safetensors")

    def final(self) -> Tensors:
        """Final weights and buffers of the sparse run."""
        return self._load("model.safetensors")

    def _load(self, file: str) -> Tensors:
        if not (path := self.cell.source / file).exists():
            raise UserError(
                f"{path} is missing; run the sparse stage first: dvc repro sparse@{self.cell.source.name}"
            )
        return load_file(path)


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
    first = {
        "dataset": grid.datasets,
        "model": grid.models,
        "seed": grid.seeds,
        "method": {"reinit": grid.reinit, "retrain": grid.retrain}.get(stage, grid.methods),
        "sparsity": grid.sparsities,
        "rewind": grid.rewinds,
    }
    keys = STAGE_KEYS[stage]
    if unknown := sorted(set(own) - {*keys, "out"}):
        raise UserError(f"{unknown[0]} is an unknown key of the {stage} stage; it has {', '.join(keys)}, out")
    values = {
        key: _typed(key, own[key], type(first[key][0])) if key in own else first[key][0] for key in keys
    }
    if "method" in values and values["method"] not in params.methods:
        raise UserError(
            f"method={values['method']!r} is no section of params.yaml: {', '.join(params.methods)}"
        )
    cell = Cell(stage, **values)
    folder = Path("scratch" if overrides else "runs") / stage / cell.name
    return cell, params, Path(own.get("out", folder))


def _typed(key: str, text: str, kind: type) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise UserError(f"{key}={text!r} is not valid: it must be of type {kind.__name__}") from None


def run_stage(
    stage: str, arguments: Sequence[str], start: Callable[[Start], tuple[nn.Module, Method]]
) -> None:
    """Train one cell and write its results; ``start`` gives the model and the method."""
    cell, params, out = parse(stage, arguments)
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
        model, method = start(Start(cell, params, _builder(cell.model, data), len(data.train)))
        run = prepare_run(cell.name, model, method, data, params.train, seed=cell.seed, device=device)
        config = _config(cell, params)
        checkpoints = locks.enter_context(_own_folder(root() / ".checkpoints", _key(config, data, run, cell)))
        tracker.start(
            params.tracking.experiment,
            f"{stage}@{cell.name}",
            params=flatten(config),
            tags=_tags(cell, data),
            resume_file=checkpoints / "mlflow_run_id",
        )
        out.mkdir(parents=True, exist_ok=True)
        history = fit(
            run,
            history_csv=out / "history.csv",
            checkpoint_path=checkpoints / "last.pt",
            on_epoch=lambda row: tracker.metrics(row, step=int(row["epoch"])),
        )
        _write(out, run, history, config, cell, data, tracker)
        shutil.rmtree(checkpoints, ignore_errors=True)


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
            yield parent / f"{key}-{os.getpid()}"
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
    }


def _key(config: dict, data: Data, run: Run, cell: Cell) -> str:
    """Names the checkpoint: a hash of all that a run's result depends on, the library's code included."""
    digest = hashlib.blake2b(digest_size=12)
    parts = [config, data.md5, str(run.device), run.precision, torch.__version__]
    digest.update(json.dumps(parts, sort_keys=True).encode())
    for file in sorted(Path(granet.__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    if cell.stage in ("reinit", "retrain"):
        for file in ("masks.safetensors", "model.safetensors"):
            digest.update((cell.source / file).read_bytes())
    return digest.hexdigest()


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _tags(cell: Cell, data: Data) -> dict[str, str]:
    tags = {
        "git_revision": _git("rev-parse", "HEAD") or "none",
        "git_dirty": str(bool(_git("status", "--porcelain", "--untracked-files=no"))).lower(),
        "dvc_stage": f"{cell.stage}@{cell.name}",
        "data_md5": data.md5,
    }
    dvc = {"dvc_exp_name": "DVC_EXP_NAME", "dvc_exp_baseline_rev": "DVC_EXP_BASELINE_REV"}
    return tags | {tag: os.environ[name] for tag, name in dvc.items() if name in os.environ}


def _write(
    out: Path, run: Run, history: list[Row], config: dict, cell: Cell, data: Data, tracker: Tracker
) -> None:
    """The five files of a run (history.csv is already there), and the same into MLflow."""
    sparsifier, last = run.sparsifier, history[-1]
    scores = accuracies(history, run.first_final_epoch)
    metrics = scores | {
        "sparsity": sparsifier.sparsity,
        "inference_flops_ratio": last["inference_flops"] / run.dense.total,
        "train_flops_ratio": last["train_flops"] / run.dense_train_flops,
    }
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    weights = {name: value.detach().cpu().contiguous() for name, value in run.model.state_dict().items()}
    masks = {name: mask.cpu() for name, mask in sparsifier.masks.items()}
    (out / "model.safetensors").write_bytes(
        save(weights)
    )  # save_file would make it readable by its owner only
    (out / "masks.safetensors").write_bytes(save(masks))
    tags = _tags(cell, data)
    summary = {
        "name": cell.name,
        "config": config,
        "accuracy": scores,
        "sparsity": sparsifier.sparsity,
        "layer_sparsity": sparsifier.layer_sparsity,
        "flops": {
            "inference": last["inference_flops"],
            "inference_dense": run.dense.total,
            "training": last["train_flops"],
            "training_dense": run.dense_train_flops,
        },
        "num_images": {"train": data.train.num_images}
        | {split: loader.num_images for split, loader in data.evaluated.items()},
        "final_sparsity_epoch": run.first_final_epoch,
        "time_s": last["time_s"],
        "environment": {
            "hardware": _hardware(run.device),
            "precision": run.precision,
            "torch": torch.__version__,
            "git_revision": tags["git_revision"],
            "git_dirty": tags["git_dirty"],
            "data_md5": data.md5,
        },
        "tracking": tracker.wait(),
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    tracker.metrics(metrics, step=len(history))
    from pipeline.figures import run_curves

    curves = out / "curves.png"
    run_curves(history, cell.name, curves)
    tracker.artifacts(*(out / file for file in RESULTS), curves)
    tracker.wait()
    curves.unlink()


def _hardware(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.processor() or platform.machine()} CPU, {torch.get_num_threads()} threads"
