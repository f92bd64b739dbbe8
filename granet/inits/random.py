"""Initial masks that look at no image: everything, at random, a thinner network, or the highest of some scores."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch

from granet.common.optimizers import detached
from granet.criteria import all_finite
from granet.distributions import Distribution, LayerSparsity, allocate, budget, global_
from granet.masks import on_host, random_masks
from granet.types import InitContext, Masks, Shapes, Tensors, UserError
from granet.update import prune


def everything(context: InitContext) -> Masks:
    """All weights are active: what starts dense."""
    return {name: torch.ones(shape, dtype=torch.bool, device="cpu") for name, shape in context.shapes.items()}


@dataclass(frozen=True)
class Random:
    """Random masks with the layer sparsities of a rule such as `distributions.erk`; ``sparsity`` overall, exactly.

    A value, so that others can see which. What stacks matrices, as attention does, is to the rule as many tensors;
    what wraps a rule sees it as one.
    """

    rule: LayerSparsity
    sparsity: float

    def __call__(self, context: InitContext) -> Masks:
        """The masks of step 0."""
        shapes = context.shapes
        sizes = {name: prod(shape) for name, shape in shapes.items()}
        total = budget(shapes, self.sparsity)
        layers = _apart(self.rule, context.stacks)(shapes, self.sparsity)
        return random_masks(shapes, allocate(layers, sizes, shapes, total), context.seed)


random = Random


def _apart(rule: Any, stacks: dict[str, int]) -> LayerSparsity:
    """``rule``, for which a stack is as many tensors; of what wraps a rule (a field of that name) the one within."""
    if not stacks:
        return rule
    if hasattr(rule, "rule"):
        return replace(rule, rule=_apart(rule.rule, stacks))

    def layer_sparsity(shapes: Shapes, sparsity: float) -> dict[str, float]:
        names: dict[str, list[str]] = {}
        parts: Shapes = {}
        for name, (rows, *others) in shapes.items():
            number = stacks.get(name, 1)
            names[name] = [name] if number == 1 else [f"{name}.{part}" for part in range(number)]
            parts |= dict.fromkeys(names[name], (rows // number, *others))
        layers = rule(parts, sparsity)
        return {name: sum(layers[part] for part in its) / len(its) for name, its in names.items()}

    return layer_sparsity


@dataclass(frozen=True)
class Highest:
    """Pruning once, to an exact count: an `Init` that keeps the highest ``scores``.

    ``distribution``: of all tensors together, or of every tensor its share. A value, so that others can see which.
    """

    scores: Callable[[InitContext], Tensors]
    sparsity: float
    distribution: Distribution = global_

    def __call__(self, context: InitContext) -> Masks:
        """The masks of step 0."""
        ranks = check_scores(self.scores(context), "init")
        masks = {name: torch.ones_like(rank, dtype=torch.bool) for name, rank in ranks.items()}
        return prune(masks, ranks, self.distribution(ranks, masks, self.sparsity))


def check_scores(scores: Tensors, what: str) -> Tensors:
    """The scores, which have to be finite and not all equal: else they would be taken for a mask. Raises UserError."""
    values = detached(scores)
    if not all_finite(values):
        raise UserError(
            f"{what}: a score is NaN or infinite; look at the model's outputs and loss before training"
        )
    lowest, highest = (on_host([end(value) for value in values.values()]) for end in (torch.amin, torch.amax))
    if min(lowest) == max(highest):
        number = sum(value.numel() for value in values.values())
        raise UserError(
            f"{what}: all {number:,} weights score {lowest[0]:g}, so they choose no mask; does the loss depend "
            "on the weights? pass the loss of your training: Sparsifier(..., loss=)"
        )
    return scores


def trained_magnitude(context: InitContext) -> Tensors:
    """|w| of the weights as they are: scores of a network that has been trained."""
    return {name: weight.detach().abs() for name, weight in context.weights.items()}


def thin_masks(shapes: Shapes, sparsity: float) -> Masks:
    """The widest thinner network of at most (1 - sparsity) N weights, as masks: a block of channels in every tensor.

    Every tensor keeps its first round(f * out) outputs and round(f * in) inputs, with one factor f; the first
    tensor's inputs (the image) and the last one's outputs (the classes) stay. The rest is never active, so the
    network computes what one with that many channels computes.

    >>> [int(mask.sum()) for mask in thin_masks({"a": (8, 3), "b": (8, 8), "c": (2, 8)}, 0.65).values()]
    [12, 16, 8]
    """
    names = list(shapes)

    def block(name: str, factor: float) -> tuple[int, int]:
        outputs, inputs = shapes[name][:2]
        return (
            outputs if name == names[-1] else max(1, round(factor * outputs)),
            inputs if name == names[0] else max(1, round(factor * inputs)),
        )

    def size(factor: float) -> int:
        return sum(prod(block(name, factor)) * prod(shape[2:]) for name, shape in shapes.items())

    wanted = (1 - sparsity) * sum(prod(shape) for shape in shapes.values())
    low, high = 0.0, 1.0
    for _ in range(50):  # size is a staircase: close in on its last step below what is wanted
        middle = (low + high) / 2
        low, high = (middle, high) if size(middle) <= wanted else (low, middle)
    masks = {name: torch.zeros(shape, dtype=torch.bool, device="cpu") for name, shape in shapes.items()}
    for name, mask in masks.items():
        outputs, inputs = block(name, low)
        mask[:outputs, :inputs] = True
    return masks
