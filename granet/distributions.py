"""Distributions: how many weights stay active in each tensor. Global versus layer-wise is nothing else.

Two layers of functions: layer sparsities of ``shapes`` (`uniform`, `er`, `erk`), and `Distribution`s, which
also see scores and masks (`global_`, `by_layer`) and give whole numbers that add up exactly.
"""

import math
from collections.abc import Callable
from math import prod

import torch

from granet.types import Counts, Masks, Shapes, Tensors, UserError

LayerSparsity = Callable[[Shapes, float], dict[str, float]]
Distribution = Callable[[Tensors, Masks, float], Counts]


def uniform(shapes: Shapes, sparsity: float) -> dict[str, float]:
    """The same sparsity everywhere."""
    return dict.fromkeys(shapes, sparsity)


def er(shapes: Shapes, sparsity: float) -> dict[str, float]:
    """Erdos-Renyi (SET, Mocanu et al. 2018): density ~ (n_in + n_out) / (n_in n_out); kernels left out."""
    return _scaled(shapes, sparsity, {name: sum(s[:2]) / prod(s[:2]) for name, s in shapes.items()})


def erk(shapes: Shapes, sparsity: float) -> dict[str, float]:
    """Erdos-Renyi-Kernel (RigL, Evci et al. 2020): density ~ sum(shape) / prod(shape), kernel included, power 1.

    Where the scaled density of a tensor would exceed 1, the tensor stays dense and the others share the
    rest, so that the sparsity over all weights is the one asked for.

    >>> erk({"big": (100, 100), "small": (10, 10)}, 0.8)["small"]
    0.0
    """
    return _scaled(shapes, sparsity, {name: sum(s) / prod(s) for name, s in shapes.items()})


def _scaled(shapes: Shapes, sparsity: float, raw: dict[str, float]) -> dict[str, float]:
    """Layer sparsities 1 - eps * raw, with eps such that the overall sparsity is met and no density exceeds 1."""
    if not 0 <= sparsity < 1:
        raise UserError(f"sparsity={sparsity} must lie in [0, 1): it is a fraction")
    size = {name: prod(shape) for name, shape in shapes.items()}
    budget = (1 - sparsity) * sum(size.values())
    dense: set[str] = set()
    while True:
        rest = [name for name in shapes if name not in dense]
        left = budget - sum(size[name] for name in dense)
        eps = left / sum(raw[name] * size[name] for name in rest) if rest else 0.0
        # One at a time, the worst first: a batch could make a tensor dense that would have fitted afterwards.
        over = max(rest, key=lambda name: raw[name], default=None)
        if over is None or eps * raw[over] <= 1:
            break
        dense |= {name for name in rest if raw[name] == raw[over]}
    return {name: 0.0 if name in dense else 1 - eps * raw[name] for name in shapes}


def allocate(layer_sparsities: dict[str, float], limits: Counts, shapes: Shapes, total: int) -> Counts:
    """Whole numbers of active weights that follow ``layer_sparsities`` and add up to exactly ``total``.

    Every tensor gets the floor of its share, at most ``limits[name]``; what is left goes one by one to the
    tensors with the largest remainders that have room (ties: by name). A ``total`` beyond all limits is cut to them.

    >>> allocate({"a": 0.5, "b": 0.5}, {"a": 3, "b": 5}, {"a": (3,), "b": (5,)}, 4)
    {'a': 2, 'b': 2}
    """
    total = min(total, sum(limits.values()))
    wanted = {name: (1 - layer_sparsities[name]) * prod(shape) for name, shape in shapes.items()}
    # Shares are sums of floats: a billionth decides neither a floor nor, by the order of the layers, a tie.
    counts = {name: min(math.floor(share + 1e-9), limits[name]) for name, share in wanted.items()}
    by_remainder = sorted(shapes, key=lambda name: (round(counts[name] - wanted[name], 6), name))
    while (left := total - sum(counts.values())) > 0:
        for name in [name for name in by_remainder if counts[name] < limits[name]][:left]:
            counts[name] += 1
    return counts


def budget(shapes: Shapes, sparsity: float) -> int:
    """Active weights of the whole network at ``sparsity``: round((1 - s) N)."""
    return round((1 - sparsity) * sum(prod(shape) for shape in shapes.values()))


def by_layer(layer_sparsity: LayerSparsity) -> Distribution:
    """A layer-wise rule as a distribution: blind to scores, and never above a tensor's active weights."""

    def distribution(scores: Tensors, masks: Masks, sparsity: float) -> Counts:
        shapes = {name: tuple(mask.shape) for name, mask in masks.items()}
        limits = {name: int(mask.sum()) for name, mask in masks.items()}
        return allocate(layer_sparsity(shapes, sparsity), limits, shapes, budget(shapes, sparsity))

    return distribution


def global_(scores: Tensors, masks: Masks, sparsity: float) -> Counts:
    """One threshold over all tensors: the k = round((1 - s) N) highest-scoring active weights stay.

    Ties at the threshold stay in the order of names, then of the index: deterministic, whatever the dict's order.
    """
    shapes = {name: tuple(mask.shape) for name, mask in masks.items()}
    active = {name: scores[name][mask] for name, mask in masks.items()}
    pooled = torch.cat(list(active.values()))
    k = min(budget(shapes, sparsity), pooled.numel())
    if k == 0:
        return dict.fromkeys(masks, 0)
    threshold = torch.kthvalue(pooled, pooled.numel() - k + 1).values
    above = {name: int((s > threshold).sum()) for name, s in active.items()}
    ties_left = k - sum(above.values())
    counts = {}
    for name in sorted(active):
        ties = min(int((active[name] == threshold).sum()), ties_left)
        counts[name] = above[name] + ties
        ties_left -= ties
    return counts
