"""Layers that stay dense: which ones, and what the others do so that the whole network has its sparsity all the same.

Some papers prune every layer but the first, or but the classifier. What this module wraps (a rule of layer sparsities,
a distribution, a drop's count) leaves those layers alone and sees the others only. Where they would take more than half
of the weights that stay, in a small network or at an extreme sparsity, they are pruned like all others: else these
would have next to nothing left.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from granet.distributions import Distribution, LayerSparsity, budget, classifier
from granet.drops import Count
from granet.types import Counts, Masks, Shapes, Tensors

DenseLayers = Callable[[Shapes], set[str]]
"""Shapes of all maskable weights, in the model's order -> the names of those that stay dense."""
SHORTCUTS = ("downsample", "shortcut")
"""What models call the projections of their residual blocks."""


def none(shapes: Shapes) -> set[str]:
    """Every layer is pruned (GraNet, RigL with ERK)."""
    return set()


def first(shapes: Shapes) -> set[str]:
    """The first convolution; without any, the first layer (uniform sparsity in RigL's runs; Gale et al. 2019).

    >>> first({"conv1": (16, 3, 3, 3), "conv2": (16, 16, 3, 3), "fc": (10, 16)})
    {'conv1'}
    """
    convolutions = [name for name, shape in shapes.items() if len(shape) > 2]
    return set((convolutions or list(shapes))[:1])


def shortcuts(shapes: Shapes) -> set[str]:
    """The first convolution, and the projections of residual blocks, known by their names (DSR's released code).

    >>> sorted(shortcuts({"conv1": (8, 3, 3, 3), "1.conv1": (8, 8, 3, 3), "1.downsample.0": (8, 8, 1, 1)}))
    ['1.downsample.0', 'conv1']
    """
    return first(shapes) | {name for name in shapes if not set(SHORTCUTS).isdisjoint(name.split("."))}


DENSE_LAYERS: dict[str, DenseLayers] = {
    "none": none,
    "first": first,
    "shortcuts": shortcuts,
    "classifier": classifier,
}


def divided(dense: DenseLayers, shapes: Shapes, sparsity: float) -> tuple[set[str], float]:
    """The layers that stay dense at ``sparsity`` of the whole network, and the sparsity of all others together.

    >>> divided(first, {"conv1": (8, 1, 1, 1), "conv2": (8, 9, 1, 1)}, 0.5)
    ({'conv1'}, 0.5555555555555556)
    >>> divided(first, {"conv1": (8, 1, 1, 1), "conv2": (8, 9, 1, 1)}, 0.9)
    (set(), 0.9)
    """
    names, total = dense(shapes), budget(shapes, sparsity)
    size = sum(prod(shapes[name]) for name in names)
    if not names or 2 * size > total:
        return set(), sparsity
    others = sum(map(prod, shapes.values())) - size
    return names, 1 - (total - size) / others


@dataclass(frozen=True)
class RuleSparing:
    """Layer sparsities by ``rule``, but 0 for the layers that stay dense."""

    rule: LayerSparsity
    dense: DenseLayers

    def __call__(self, shapes: Shapes, sparsity: float) -> dict[str, float]:
        """The layers' sparsities."""
        spared, others = divided(self.dense, shapes, sparsity)
        layers = self.rule({name: shape for name, shape in shapes.items() if name not in spared}, others)
        return {name: layers.get(name, 0.0) for name in shapes}


@dataclass(frozen=True)
class DistributionSparing:
    """What a pruning leaves by ``distribution``, but all of the layers that stay dense."""

    distribution: Distribution
    dense: DenseLayers

    def __call__(self, scores: Tensors, masks: Masks, sparsity: float) -> Counts:
        """How many weights of each tensor stay."""
        shapes = {name: tuple(mask.shape) for name, mask in masks.items()}
        spared, others = divided(self.dense, shapes, sparsity)
        rest = {name: mask for name, mask in masks.items() if name not in spared}
        ranks = {name: score for name, score in scores.items() if name in rest}
        kept = self.distribution(ranks, rest, others)
        return {name: kept.get(name, mask.numel()) for name, mask in masks.items()}


rule_sparing, distribution_sparing = RuleSparing, DistributionSparing


def count_sparing(count: Count, dense: DenseLayers) -> Count:
    """What a regeneration drops by ``count``, but nothing of the layers that stay dense and are so."""

    def counts(scores: Tensors, masks: Masks, fraction: float, memory: Tensors) -> tuple[Counts, Tensors]:
        named = dense({name: tuple(mask.shape) for name, mask in masks.items()})
        rest = {name: mask for name, mask in masks.items() if name not in named or not bool(mask.all())}
        dropped, memory = count({name: scores[name] for name in rest}, rest, fraction, memory)
        return {name: dropped.get(name, 0) for name in masks}, memory

    return counts
