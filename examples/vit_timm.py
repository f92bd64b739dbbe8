"""timm: a vision transformer at 90 %, interrupted, resumed bit for bit, saved as a sparse model, and read again.

python -m examples.vit_timm
"""

import copy
import tempfile
from typing import Any

import timm
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy, interpolate

from granet import METHODS, Card, Sparsifier, load_sparse, save_sparse

STEPS, HALF, BATCH = 200, 100, 50


def build() -> torch.nn.Module:
    """A narrow ViT-tiny for images of 16 x 16 pixels, 16 patches each; from random weights."""
    torch.manual_seed(0)
    return timm.create_model(
        "vit_tiny_patch16_224",
        img_size=16,
        patch_size=4,
        in_chans=1,
        num_classes=10,
        embed_dim=64,
        depth=2,
        num_heads=2,
    )


def begin() -> tuple[torch.nn.Module, torch.optim.Optimizer, Sparsifier]:
    """Model, optimizer and Sparsifier, as every start and every resumption makes them."""
    model = build()
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.05)
    method = METHODS["granet"](sf=0.9, update_interval=5)
    return model, optimizer, Sparsifier(model, optimizer, method, seed=0, total_steps=STEPS)


def main() -> None:
    """Train in one go and in two, and compare; then save and load."""
    digits: Any = load_digits()
    images_NCHW = interpolate(torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16, size=16)
    labels_N = torch.tensor(digits.target)

    def train(model, optimizer, sparsifier, steps: range) -> None:
        for step in steps:
            batch = torch.randint(1400, (BATCH,), generator=torch.Generator().manual_seed(step))
            cross_entropy(model(images_NCHW[batch]), labels_N[batch]).backward()
            sparsifier.after_backward()
            optimizer.step()
            sparsifier.after_step()
            optimizer.zero_grad(set_to_none=True)

    def test(model: torch.nn.Module) -> float:
        with torch.no_grad():
            return (model.eval()(images_NCHW[1400:]).argmax(1) == labels_N[1400:]).float().mean().item()

    run = begin()
    train(*run, range(HALF))
    state = copy.deepcopy([part.state_dict() for part in run])  # what torch.save would write
    train(*run, range(HALF, STEPS))
    model, _, sparsifier = run

    again = begin()
    for part, values in zip(again, state, strict=True):
        part.load_state_dict(values)
    train(*again, range(HALF, STEPS))
    same = all(torch.equal(a, b) for a, b in zip(model.parameters(), again[0].parameters(), strict=True))
    active = sum(sparsifier.num_active.values())
    total = sum(mask.numel() for mask in sparsifier.masks.values())
    print(f"{active:,} of {total:,} weights are active: {sparsifier.sparsity:.2%} sparse")
    print(f"resumed from step {HALF}, bit for bit the same: {same}")

    with tempfile.TemporaryDirectory() as folder:
        accuracy = test(model)
        card = Card("A sparse ViT", "granet", "digits", {"test": accuracy}, [0])
        size = save_sparse(folder, model, sparsifier.masks, card=card)
        fresh = build()
        load_sparse(folder, fresh)
        dense = 4 * sum(value.numel() for value in model.parameters())
        print(f"on disk {size / 1000:.0f} kB, {dense / 1000:.0f} kB as a dense model")
        print(f"test digits right: {accuracy:.1%}; after loading: {test(fresh):.1%}")


if __name__ == "__main__":
    main()
