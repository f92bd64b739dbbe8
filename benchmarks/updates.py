"""One mask update of GraNet beside two others' ways: pruning over all layers, then drop and grow layer by layer."""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from benchmarks.pairs import Row, Way, compare
from granet import METHODS, Sparsifier
from granet.maskable import maskable_weights
from granet.models import build

TOTAL_STEPS, INTERVAL, BATCH = 10**6, 1000, 64


def trained(
    model_name: str, layout: torch.memory_format = torch.contiguous_format
) -> tuple[nn.Module, torch.optim.SGD, Callable[[], None]]:
    """A network, its optimizer with momentum, and a forward and backward pass, which also leaves memory as it does."""
    torch.manual_seed(0)
    model = build(model_name, num_classes=10).to(memory_format=layout)  # pyright: ignore[reportCallIssue]
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, nesterov=True)
    images, labels = (
        torch.randn(BATCH, 3, 32, 32).contiguous(memory_format=layout),
        torch.randint(10, (BATCH,)),
    )

    def backward() -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(model(images), labels).backward()

    backward()
    optimizer.step()
    return model, optimizer, backward


def ours(model_name: str) -> Way:
    """The two calls of `Sparsifier` in a step that prunes and regenerates, with all that they do."""
    model, optimizer, backward = trained(model_name, torch.channels_last)  # as the pipeline has it
    method = METHODS["granet"](sf=0.9, si=0.5, update_interval=INTERVAL)
    sparsifier = Sparsifier(model, optimizer, method, seed=0, total_steps=TOTAL_STEPS)
    updates = iter(range(10, TOTAL_STEPS // (2 * INTERVAL), 10))

    def way() -> float:
        backward()
        sparsifier.step = next(updates) * INTERVAL - 1  # the next step updates the masks
        started = time.perf_counter()
        sparsifier.after_backward()
        before = time.perf_counter() - started
        optimizer.step()
        started = time.perf_counter()
        sparsifier.after_step()
        return before + time.perf_counter() - started

    return way


def released(model_name: str) -> Way:
    """As GraNet's released code goes about it: a top-k over all weights, then two sorts per layer; float masks."""
    model, optimizer, backward = trained(model_name)
    weights = list(maskable_weights(model).values())
    masks = [torch.ones_like(weight) for weight in weights]
    total = sum(weight.numel() for weight in weights)

    @torch.no_grad()
    def update() -> None:
        pooled = torch.cat([weight.abs().flatten() for weight in weights])
        threshold = torch.topk(pooled, total // 2, sorted=True).values[-1]
        for index, weight in enumerate(weights):
            mask = (weight.abs() > threshold).float()
            num_dropped = int(0.5 * mask.sum().item())
            ordered = torch.sort(weight.abs().flatten()).values
            lowest = ordered[int((mask == 0).sum().item()) + num_dropped - 1]
            mask = (weight.abs() > lowest).float()
            assert weight.grad is not None
            places = torch.sort((weight.grad * (mask == 0)).abs().flatten(), descending=True).indices
            mask.view(-1)[places[:num_dropped]] = 1.0
            masks[index] = mask
        for weight, mask in zip(weights, masks, strict=True):
            weight.mul_(mask)
            optimizer.state[weight]["momentum_buffer"].mul_(mask)

    def way() -> float:
        backward()
        optimizer.step()
        started = time.perf_counter()
        update()
        return time.perf_counter() - started

    return way


def unstructured(model_name: str) -> Way:
    """torch.nn.utils.prune.global_unstructured, which prunes and regenerates nothing."""
    model, _, backward = trained(model_name)
    layers = [(model.get_submodule(name.rpartition(".")[0]), "weight") for name in maskable_weights(model)]
    initial: list[Tensor] = [module.weight.detach().clone() for module, _ in layers]  # pyright: ignore

    def way() -> float:
        backward()
        started = time.perf_counter()
        prune.global_unstructured(layers, prune.L1Unstructured, amount=0.5)
        seconds = time.perf_counter() - started
        for (module, name), weight in zip(layers, initial, strict=True):
            prune.remove(module, name)
            module.weight.data = weight.clone(memory_format=torch.preserve_format)
        return seconds

    return way


def rows(model_name: str, pairs: int) -> list[Row]:
    """Both beside ours."""
    return [
        compare(f"{model_name}: mask update, {label} / ours", way(model_name), ours(model_name), pairs)
        for label, way in (("released code's way", released), ("prune.global_unstructured", unstructured))
    ]
