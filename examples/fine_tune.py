"""Fine-tuning: a network is trained sparsely on the digits 0 to 4, saved, and goes on with 5 to 9 in the same masks.

python -m examples.fine_tune
"""

import tempfile
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

from granet import METHODS, Card, Method, Sparsifier, load_sparse, save_sparse

STEPS, FEW = 200, 60
"""Optimizer steps of either training, and images that the second one gets."""


def build() -> nn.Sequential:
    """A small CNN with five classes."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 16, 5),
    )


def train(model: nn.Module, method: Method, images: torch.Tensor, labels: torch.Tensor) -> Sparsifier:
    """Random batches of 50 images."""
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    sparsifier = Sparsifier(model, optimizer, method, seed=0, total_steps=STEPS)
    for _ in range(STEPS):
        batch = torch.randint(len(images), (50,))
        cross_entropy(model(images[batch]), labels[batch]).backward()
        sparsifier.after_backward()
        optimizer.step()
        sparsifier.after_step()
        optimizer.zero_grad(set_to_none=True)
    return sparsifier


@torch.no_grad()
def right(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of the images whose class is found."""
    return (model(images).argmax(1) == labels).float().mean().item()


def main() -> None:
    """Save after the first training; compare the second with one in the same masks from random weights."""
    torch.manual_seed(0)
    digits: Any = load_digits()
    images, labels = (
        torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16,
        torch.tensor(digits.target),
    )
    low, high = labels < 5, labels >= 5

    model = build()
    sparsifier = train(model, METHODS["granet"](sf=0.9, update_interval=10), images[low], labels[low])
    with tempfile.TemporaryDirectory() as folder:
        card = Card("Digits 0 to 4", "granet", "digits", seeds=[0])
        save_sparse(folder, model, sparsifier.masks, card=card)
        saved = load_sparse(folder)
        print(
            f"saved: {saved.config['sparse']['sparsity']:.2%} sparse, from {saved.config['sparse']['method']}"
        )
        masks = Path(folder) / "model.safetensors"  # METHODS["fixed"] takes it as it is
        few, rest = (images[high][:FEW], labels[high][:FEW] - 5), (images[high][FEW:], labels[high][FEW:] - 5)
        for name, weights in {"random weights": {}, "its own weights": saved.weights}.items():
            torch.manual_seed(1)
            model = build()
            head = {key: value for key, value in model.state_dict().items() if key.startswith("5.")}
            model.load_state_dict({**model.state_dict(), **weights, **head})  # the classes are new
            tuned = train(model, METHODS["fixed"](masks), *few)
            kept = all(torch.equal(tuned.masks[key], mask) for key, mask in saved.masks.items())
            print(
                f"{FEW} digits of 5 to 9, {name}: {right(model, *rest):.1%} of the others right, masks kept: {kept}"
            )


if __name__ == "__main__":
    main()
