"""A ViT from timm, as it comes: GraNet reaches 90 % exactly, goes on bit for bit, and saves and loads."""

import io
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from granet import METHODS, Sparsifier, load_sparse, save_sparse
from tests.helpers.loops import turn

timm = pytest.importorskip("timm")
pytest.importorskip("timm.optim")
STEPS = 12


def made(**choice: Any) -> tuple[nn.Module, torch.optim.Optimizer, Sparsifier]:
    torch.manual_seed(0)
    model = timm.create_model(
        "vit_tiny_patch16_224",
        img_size=16,
        patch_size=8,
        embed_dim=96,
        depth=4,
        num_classes=10,
        drop_path_rate=0.1,
    )
    optimizer = timm.optim.create_optimizer_v2(
        model, opt="adamw", lr=1e-3, weight_decay=0.05, layer_decay=0.75
    )
    method = METHODS["granet"](sf=0.9, update_interval=2)
    return model, optimizer, Sparsifier(model, optimizer, method, seed=0, total_steps=STEPS, **choice)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, sparsifier: Sparsifier, steps: range) -> None:
    model.train()
    for step in steps:
        torch.manual_seed(step)  # also of stochastic depth
        images, labels = torch.randn(16, 3, 16, 16), torch.randint(10, (16,))
        turn(cross_entropy(model(images), labels), optimizer, sparsifier)


@pytest.mark.parametrize("choice", [{}, {"dense": ("first", "last")}, {"exclude": "*.attn.proj"}])
def test_granet_reaches_90_percent_exactly_and_resumes_bit_for_bit(choice):
    run = made(**choice)
    train(*run, range(STEPS))
    model, _, sparsifier = run
    size = sum(mask.numel() for mask in sparsifier.masks.values())
    zeros = sum(int((model.get_parameter(name) == 0).sum()) for name in sparsifier.masks)
    assert zeros >= size - sum(sparsifier.num_active.values())
    assert sum(sparsifier.num_active.values()) == round(0.1 * size)
    assert ("head.weight" in sparsifier.masks) == ("dense" not in choice)
    assert ("patch_embed.proj.weight" in sparsifier.masks) == ("dense" not in choice)
    assert ("blocks.0.attn.proj.weight" in sparsifier.masks) == ("exclude" not in choice)

    first = made(**choice)
    train(*first, range(5))
    files = [io.BytesIO() for _ in first]
    for part, file in zip(first, files, strict=True):
        torch.save(part.state_dict(), file)
        file.seek(0)
    again = made(**choice)
    for part, file in zip(again, files, strict=True):
        part.load_state_dict(torch.load(file, weights_only=True))
    train(*again, range(5, STEPS))
    for name, value in model.state_dict().items():
        assert torch.equal(value, again[0].state_dict()[name]), name
    for name, mask in sparsifier.masks.items():
        assert torch.equal(mask, again[2].masks[name]), name


def test_it_is_saved_as_a_sparse_model_and_read_again(tmp_path):
    model, optimizer, sparsifier = made()
    train(model, optimizer, sparsifier, range(STEPS))
    size = save_sparse(tmp_path, model, sparsifier.masks)
    assert size < 0.3 * sum(value.numel() * value.element_size() for value in model.state_dict().values())
    other, _, fresh = made()
    read = load_sparse(tmp_path, other)
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    assert read.masks.keys() == sparsifier.masks.keys() == fresh.masks.keys()
    assert all(torch.equal(mask, sparsifier.masks[name]) for name, mask in read.masks.items())
    assert read.config["sparse"]["sparsity"] == sparsifier.sparsity == pytest.approx(0.9, abs=1e-5)
    images = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(model.eval()(images), other.eval()(images))
