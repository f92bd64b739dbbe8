"""Lightning: a module of one's own, made sparse by a callback; with clipping and a learning-rate schedule.

python -m examples.digits_lightning
"""

import logging
import warnings
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from granet import METHODS
from granet.integrations.lightning import SparsifierCallback

EPOCHS = 12


class Digits(LightningModule):
    """Two hidden layers; nothing of it knows of masks."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Flatten(),
            nn.Linear(64, 256),
            nn.ReLU(),
            nn.Linear(256, 256),
            nn.ReLU(),
            nn.Linear(256, 10),
        )

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        """The loss of a batch."""
        return cross_entropy(self.net(batch[0]), batch[1])

    def test_step(self, batch: list[torch.Tensor]) -> None:
        """The accuracy of a batch."""
        self.log("right", (self.net(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        """AdamW on one cycle."""
        optimizer = torch.optim.AdamW(self.parameters(), 1e-3)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def main() -> None:
    """Train with RigL and with GraNet."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")  # of loaders without processes, and of Slurm
    digits: Any = load_digits()
    images, labels = (
        torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16,
        torch.tensor(digits.target),
    )
    train, test = (TensorDataset(images[part], labels[part]) for part in (slice(1400), slice(1400, None)))
    for name in ("rigl", "granet"):
        torch.manual_seed(0)
        callback = SparsifierCallback(METHODS[name](sf=0.95, update_interval=10), seed=0)
        module = Digits()
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=EPOCHS,
            gradient_clip_val=1.0,
            callbacks=[callback],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, DataLoader(train, 64, shuffle=True))
        (result,) = trainer.test(module, DataLoader(test, len(test)), verbose=False)
        sparsifier = callback.sparsifier
        print(
            f"{name:7} {sparsifier.sparsity:.2%} sparse after {sparsifier.step} steps, {result['right']:.1%} right"
        )


if __name__ == "__main__":
    main()
