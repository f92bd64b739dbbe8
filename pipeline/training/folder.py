"""A run folder: one type writes what a finished run leaves, and reads it."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from granet.common.files import atomic
from granet.masks import empty_layers
from granet.models import build
from granet.training import checkpoint
from granet.training.history import Row, accuracies
from granet.training.run import Run
from granet.types import Masks, Tensors, UserError

if TYPE_CHECKING:
    from pandas import DataFrame

SUMMARY, METRICS, HISTORY, CHECKPOINTS = "summary.json", "metrics.json", "history.csv", "checkpoints"
MODEL, MASKS = "model.safetensors", "masks.safetensors"
RESULTS = (METRICS, HISTORY, MODEL, MASKS, SUMMARY)
"""What a training run leaves."""


@dataclass(frozen=True)
class Summary:
    """summary.json of a training run: what it was, knew and reached. Sparsities and accuracies are fractions.

    ``config``: the cell's keys and the sections of params.yaml it was made with. ``flops``: "inference" of one image,
    "training" of the run, and both of the dense network. ``num_images`` by split, ``image_shape`` (C, H, W).
    ``environment``: hardware, precision, versions, git revision, md5 of the data and digest of the code.
    """

    name: str
    config: dict[str, Any]
    accuracy: dict[str, float | None]
    sparsity: float
    layer_sparsity: dict[str, float]
    flops: dict[str, int]
    num_images: dict[str, int]
    image_shape: tuple[int, int, int]
    num_classes: int
    epochs: int
    final_sparsity_epoch: int
    time_s: float
    environment: dict[str, str]
    tracking: dict[str, str | None]

    @property
    def empty_layers(self) -> list[str]:
        """Layers that have lost all their connections."""
        return empty_layers(self.layer_sparsity)


def summary_of(
    run: Run, history: list[Row], config: dict, environment: dict[str, str], tracking: dict[str, str | None]
) -> Summary:
    """The summary of a run that has ended with ``history``, a row per epoch."""
    last, data = history[-1], run.data
    loaders = {"train": data.train, **data.evaluated}
    return Summary(
        name=run.title,
        config=config,
        accuracy=accuracies(history, run.first_final_epoch),
        sparsity=run.sparsifier.sparsity,
        layer_sparsity=run.sparsifier.layer_sparsity,
        flops={
            "inference": int(last["inference_flops"]),
            "inference_dense": run.dense.total,
            "training": int(last["train_flops"]),
            "training_dense": run.dense_train_flops,
        },
        num_images={split: loader.num_images for split, loader in loaders.items()},
        image_shape=data.image_shape,
        num_classes=data.num_classes,
        epochs=run.epochs,
        final_sparsity_epoch=run.first_final_epoch,
        time_s=last["time_s"],
        environment=environment,
        tracking=tracking,
    )


def metrics_of(summary: Summary) -> dict[str, float | None]:
    """What metrics.json holds: the accuracies, the sparsity, and FLOPs as a share of the dense network's."""
    flops = summary.flops
    return summary.accuracy | {
        "sparsity": summary.sparsity,
        "inference_flops_ratio": flops["inference"] / flops["inference_dense"],
        "train_flops_ratio": flops["training"] / flops["training_dense"],
    }


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run. What it lacks, or cannot be read, raises UserError with the stage that makes it."""

    path: Path

    @property
    def remedy(self) -> str:
        """What to do where something is wrong with this folder."""
        stage, name = self.path.parent.name, self.path.name
        in_place = self.path.parent.parent.name == "runs"
        return f"run the {stage} stage: dvc repro {stage}@{name}" if in_place else "train this run again"

    def file(self, name: str) -> Path:
        """The path of one of its files, which must be there."""
        if not (path := self.path / name).exists():
            raise UserError(f"{path} is missing; {self.remedy}")
        return path

    def json(self, name: str = SUMMARY) -> dict[str, Any]:
        """One of its JSON files, as it stands there."""
        path = self.file(name)
        try:
            return json.loads(path.read_text())
        except ValueError:
            raise UserError(f"{path} is not valid JSON; delete {self.path}, then {self.remedy}") from None

    @property
    def is_finished(self) -> bool:
        """Whether there is a summary, which is written last."""
        return (self.path / SUMMARY).exists()

    @property
    def summary(self) -> Summary:
        """summary.json of a training run."""
        values = self.json()
        try:
            known: dict[str, Any] = {name: values[name] for name in Summary.__annotations__}
        except KeyError as missing:
            raise UserError(
                f"{self.path / SUMMARY} has no {missing.args[0]}: it is of no network, or of another version; "
                f"{self.remedy}"
            ) from None
        return Summary(**{**known, "image_shape": tuple(known["image_shape"])})

    def weights(self) -> Tensors:
        """Final weights and buffers by name, on the CPU."""
        return self._tensors(MODEL)

    def masks(self) -> Masks:
        """Final masks by weight, bool; empty for a dense run."""
        return self._tensors(MASKS)

    def _tensors(self, name: str) -> Tensors:
        try:
            return load_file(self.file(name))
        except SafetensorError as error:
            raise UserError(f"{self.path / name} cannot be read: {error}; {self.remedy}") from None

    def history(self) -> "DataFrame":
        """history.csv: a row per epoch."""
        from pandas import read_csv

        return read_csv(self.file(HISTORY))

    def checkpoint(self, epoch: int) -> dict:
        """The state after an epoch, of a run that keeps it."""
        return checkpoint.load(self.file(f"{CHECKPOINTS}/epoch-{epoch}.pt")) or {}

    def model(self) -> nn.Module:
        """The trained network, on the CPU and in eval mode."""
        summary = self.summary
        model = build(summary.config["model"], num_classes=summary.num_classes)
        try:
            model.load_state_dict(self.weights())
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"{self.path / MODEL} is not of this summary's network: {reason} {self.remedy}"
            ) from None
        return model.eval()

    def write(self, run: Run, summary: Summary) -> None:
        """All files of a finished run but history.csv, which it has written; the summary last."""
        # safetensors' save_file would make them readable by their owner only
        for name, tensors in ((MODEL, run.model.state_dict()), (MASKS, run.sparsifier.masks)):
            plain = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
            atomic(self.path / name, save(plain))
        self.write_json(METRICS, metrics_of(summary))
        self.write_json(SUMMARY, dataclasses.asdict(summary))

    def write_json(self, name: str, values: dict[str, Any]) -> None:
        """One JSON file, whole or not at all."""
        atomic(self.path / name, (json.dumps(values, indent=2) + "\n").encode())
