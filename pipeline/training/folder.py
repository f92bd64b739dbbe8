"""A run folder: one type writes what a finished run leaves, and reads it."""

import dataclasses
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from granet.common.files import atomic
from granet.maskable import EVERY_LAYER, Choice
from granet.masks import check as check_masks
from granet.models import build
from granet.training import checkpoint
from granet.training.history import Row, accuracies
from granet.training.run import Run
from granet.types import Masks, Tensors, UserError
from pipeline.training.summary import Summary, parse

if TYPE_CHECKING:
    from pandas import DataFrame

SUMMARY, METRICS, HISTORY, CHECKPOINTS = "summary.json", "metrics.json", "history.csv", "checkpoints"
MODEL, MASKS = "model.safetensors", "masks.safetensors"
RESULTS = (METRICS, HISTORY, MODEL, MASKS, SUMMARY)
"""What a training run leaves."""
DIAGNOSTICS, BRANCHES = "diagnostics.csv", "branches.csv"
"""And what its masks did, by epoch and layer."""
COLUMNS = ("epoch", "test_accuracy", "sparsity", "inference_flops")
"""What readers look for in a history."""


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
        path, part = self.path, ""
        if path.parent.parent.parent.name == "runs":  # of a chain, or a member of a soup
            path, part = path.parent, path.name
        stage, in_place = path.parent.name, path.parent.parent.name == "runs"
        name = f"{path.name}-{part}" if stage == "member" else path.name
        return f"run the {stage} stage: dvc repro {stage}@{name}" if in_place else "train this run again"

    def file(self, name: str) -> Path:
        """The path of one of its files, which must be there."""
        if not (path := self.path / name).is_file():
            raise UserError(f"{path} is missing; {self.remedy}")
        return path

    def json(self, name: str = SUMMARY, *keys: str) -> dict[str, Any]:
        """One of its JSON files, as it stands there; ``keys`` must be in it."""
        path = self.file(name)
        try:
            values = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            raise UserError(f"{path} is not valid JSON; delete {self.path}, then {self.remedy}")
        if lacking := [key for key in keys if key not in values]:
            raise UserError(f"{path} has no {lacking[0]}: it is of another version; {self.remedy}")
        return values

    @property
    def is_finished(self) -> bool:
        """Whether there is a summary, which is written last."""
        return (self.path / SUMMARY).exists()

    @property
    def summary(self) -> Summary:
        """summary.json of a training run."""
        values = self.json()
        try:
            return parse(values)
        except ValueError as fault:
            raise UserError(
                f"{self.path / SUMMARY} has {fault}: it is of no network, or of another version; {self.remedy}"
            ) from None

    def weights(self, model: nn.Module | None = None) -> Tensors:
        """Final weights and buffers by name, on the CPU; they must be ``model``'s, where one is given."""
        weights = self._tensors(MODEL)
        if model is not None:
            self._check_weights(MODEL, weights, model)
        return weights

    def masks(self, model: nn.Module | None = None, choice: Choice = EVERY_LAYER) -> Masks:
        """Final masks by weight, bool; empty for a dense run. They must be of these layers of ``model``, if given."""
        masks = self._tensors(MASKS)
        try:
            if odd := [name for name, mask in masks.items() if mask.dtype is not torch.bool]:
                raise UserError(f"masks: that of {odd[0]} is {masks[odd[0]].dtype}, and masks are bool")
            if model is not None and masks:
                check_masks(masks, choice.weights(model))
        except UserError as fault:
            raise UserError(f"{self.path / MASKS}: {fault}; {self.remedy}") from None
        return masks

    def _tensors(self, name: str) -> Tensors:
        try:
            return load_file(self.file(name))
        except SafetensorError as error:
            raise UserError(f"{self.path / name} cannot be read: {error}; {self.remedy}") from None

    def _check_weights(self, name: str, weights: Tensors, model: nn.Module) -> None:
        """Raises UserError, with a tensor that differs, where the weights of a file are not those of a model."""
        own = {key: (value.shape, value.dtype) for key, value in model.state_dict().items()}
        found = {key: (value.shape, value.dtype) for key, value in weights.items()}
        if odd := [key for key in {**own, **found} if own.get(key) != found.get(key)]:
            differs = f"{odd[0]} and {len(odd) - 1} more differ" if odd[1:] else f"{odd[0]} differs"
            raise UserError(f"{self.path / name} is not of this summary's network: {differs}; {self.remedy}")

    def history(self) -> "DataFrame":
        """history.csv: a row per epoch."""
        return self.csv(HISTORY, COLUMNS)

    def diagnostics(self) -> "DataFrame | None":
        """diagnostics.csv: a row per epoch and layer; None where its masks were not followed, or are none."""
        path = self.path / DIAGNOSTICS
        if not path.is_file() or path.read_bytes().count(b"\n") == 1:
            return None
        return self.csv(DIAGNOSTICS, ("epoch", "sparsity", "ever_active", "overlap_initial"), ("layer",))

    def csv(self, name: str, numbers: Collection[str], others: Collection[str] = ()) -> "DataFrame":
        """One of its CSV files: it has a row at least, and columns of these names; of ``numbers`` none is missing."""
        from pandas import read_csv

        path = self.file(name)
        try:
            frame = read_csv(path)
        except ValueError:  # pandas' own are, as those of the encoding
            raise UserError(f"{path} is empty or no CSV; {self.remedy}") from None
        known = {
            *frame.select_dtypes("number").dropna(axis="columns"),
            *frame.columns.intersection(list(others)),
        }
        if lacking := [column for column in (*numbers, *others) if frame.empty or column not in known]:
            raise UserError(f"{path} lacks values of {lacking[0]}; {self.remedy}")
        return frame

    def checkpoint(self, epoch: int, model: nn.Module | None = None) -> dict:
        """The state after an epoch, of a run that keeps it; it must be one of ``model``, where that is given."""
        name = f"{CHECKPOINTS}/epoch-{epoch}.pt"
        path = self.file(name)
        try:
            state = checkpoint.load(path) or {}
        except UserError as fault:
            raise UserError(f"{fault}; {self.remedy}") from None
        if lacking := [part for part in checkpoint.PARTS if part not in state]:
            raise UserError(f"{path} has no {lacking[0]}: it is no state of a run; {self.remedy}")
        if model is not None:
            self._check_weights(name, state["model"], model)
        return state

    def model(self) -> nn.Module:
        """The trained network, on the CPU and in eval mode."""
        summary = self.summary
        model = build(
            summary.config["model"], num_classes=summary.num_classes, image_size=summary.image_shape[-1]
        )
        model.load_state_dict(self.weights(model))
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
