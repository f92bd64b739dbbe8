"""A loop of one's own: a small CNN on the handwritten digits that scikit-learn ships, at 90 % sparsity.

python -m examples.own_loop
"""

from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

from granet import METHODS, Sparsifier

EPOCHS, BATCH = 12, 64


def main() -> None:
    """Train the dense network and GraNet's, and print what each got right."""
    digits: Any = load_digits()
    images_NCHW = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    labels_N = torch.tensor(digits.target)
    train, test = (images_NCHW[:1400], labels_N[:1400]), (images_NCHW[1400:], labels_N[1400:])
    steps = EPOCHS * (len(train[0]) // BATCH)
    for name, method in {
        "dense": METHODS["dense"](),
        "granet": METHODS["granet"](sf=0.9, update_interval=10),
    }.items():
        torch.manual_seed(0)
        model = nn.Sequential(
            *[
                nn.Conv2d(1, 32, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(32, 64, 3, stride=2, padding=1),
                nn.ReLU(),
            ],
            nn.Flatten(),
            nn.Linear(64 * 16, 10),
        )
        optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, nesterov=True)
        sparsifier = Sparsifier(model, optimizer, method, seed=0, total_steps=steps)
        for _ in range(EPOCHS):
            for batch in torch.randperm(len(train[0])).split(BATCH)[: len(train[0]) // BATCH]:
                cross_entropy(model(train[0][batch]), train[1][batch]).backward()
                sparsifier.after_backward()
                optimizer.step()
                sparsifier.after_step()
                optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            accuracy = (model(test[0]).argmax(1) == test[1]).float().mean()
        print(f"{name:7} {sparsifier.sparsity:6.2%} sparse, {accuracy:.1%} of the test digits right")
        for layer, share in sparsifier.layer_sparsity.items():
            print(f"        {layer:9} {share:.1%}")


if __name__ == "__main__":
    main()
