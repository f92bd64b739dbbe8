"""accelerate: mixed precision (bfloat16) and gradients accumulated over four batches.

python -m examples.amp_accelerate
"""

from typing import Any

import torch
from accelerate import Accelerator
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from granet import METHODS, Sparsifier

EPOCHS, ACCUMULATED = 16, 4


def main() -> None:
    """The two calls stand around the optimizer step, where accelerate makes one."""
    torch.manual_seed(0)
    digits: Any = load_digits()
    images, labels = (
        torch.tensor(digits.images, dtype=torch.float32).flatten(1) / 16,
        torch.tensor(digits.target),
    )
    loader = DataLoader(TensorDataset(images[:1400], labels[:1400]), 25, shuffle=True)
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)

    accelerator = Accelerator(cpu=True, mixed_precision="bf16", gradient_accumulation_steps=ACCUMULATED)
    model, prepared, loader = accelerator.prepare(model, optimizer, loader)
    steps = EPOCHS * len(loader) // ACCUMULATED
    method = METHODS["granet"](sf=0.95, update_interval=10)
    sparsifier = Sparsifier(accelerator.unwrap_model(model), optimizer, method, seed=0, total_steps=steps)

    for _ in range(EPOCHS):
        for inputs, targets in loader:
            with accelerator.accumulate(model):
                accelerator.backward(cross_entropy(model(inputs), targets))
                if accelerator.sync_gradients:
                    sparsifier.after_backward()
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                prepared.step()
                if accelerator.sync_gradients and not accelerator.optimizer_step_was_skipped:
                    sparsifier.after_step()
                prepared.zero_grad()

    with torch.no_grad():
        outputs = model(images[1400:])
        right = (outputs.argmax(1) == labels[1400:]).float().mean()
    print(f"{len(loader) * EPOCHS} batches made {sparsifier.step} steps, in {accelerator.mixed_precision}")
    print(f"granet  {sparsifier.sparsity:.2%} sparse, {right:.1%} right")


if __name__ == "__main__":
    main()
