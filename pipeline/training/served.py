"""A logged model, read back: what `mlflow.pyfunc.load_model` calls."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pipeline.training.folder import RunFolder


class Served:
    """A trained network for arrays."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def predict(self, images: Any, params: dict[str, Any] | None = None) -> np.ndarray:
        """Images (N, C, H, W), float32, normalised as in training, or a dict of them -> logits (N, K)."""
        if isinstance(images, dict):
            (images,) = images.values()
        with torch.no_grad():
            return self.model(torch.as_tensor(np.asarray(images, np.float32))).numpy()


def _load_pyfunc(path: str) -> Served:
    """The network of a folder that has the summary and the weights of a run."""
    return Served(RunFolder(Path(path)).model())
