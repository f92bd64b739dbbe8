"""The two verbs of sparse training, on dicts of tensors: `prune` and `regenerate` (= `drop` + `grow`).

No function here changes its arguments. Ties always go to the lower index, so results are deterministic.
"""

import math

import torch
from torch import Tensor

from granet.masks import rankable
from granet.types import Counts, Masks, Tensors, UserError


def _top(scores: Tensor, candidates: Tensor, k: int) -> Tensor:
    """Mask of the ``k`` highest-scoring candidates (bool, the shape of ``scores``)."""
    if k == 0:
        return torch.zeros_like(candidates)
    scores = rankable(scores)
    values = scores[candidates]
    threshold = torch.kthvalue(values, values.numel() - k + 1).values
    above = candidates & (scores > threshold)
    ties = candidates & (scores == threshold)
    missing = k - above.sum()
    return above | (ties & (ties.flatten().cumsum(0).view_as(ties) <= missing))


def prune(masks: Masks, scores: Tensors, counts: Counts) -> Masks:
    """Keep the ``counts[name]`` highest-scoring *active* weights of every tensor; sparsity goes up.

    Raises UserError where a count exceeds the active weights: pruning cannot bring weights back.
    """
    for name, mask in masks.items():
        if counts[name] > (active := int(mask.sum())):
            raise UserError(
                f"{name}: cannot keep {counts[name]} of {active} active weights; raise the sparsity"
            )
    return {name: _top(scores[name], mask, counts[name]) for name, mask in masks.items()}


def num_to_drop(masks: Masks, fraction: float) -> Counts:
    """ceil(fraction * active weights) of every tensor (the 1e-9 keeps 0.1 * 30 from becoming 4)."""
    return {name: math.ceil(fraction * int(mask.sum()) - 1e-9) for name, mask in masks.items()}


def drop(masks: Masks, scores: Tensors, num_dropped: Counts) -> Masks:
    """Drop the ``num_dropped[name]`` lowest-scoring active weights of every tensor (Eq. 2 of GraNet)."""
    return prune(masks, scores, {name: int(mask.sum()) - num_dropped[name] for name, mask in masks.items()})


def grow(masks: Masks, scores: Tensors, num_grown: Counts) -> Masks:
    """Grow the ``num_grown[name]`` highest-scoring inactive weights of every tensor (Eq. 3 of GraNet)."""
    return {name: mask | _top(scores[name], ~mask, num_grown[name]) for name, mask in masks.items()}


def regenerate(masks: Masks, drop_scores: Tensors, grow_scores: Tensors, fraction: float) -> Masks:
    """Zero-cost neuroregeneration, layer by layer (Section 4.2 of GraNet).

    Drops ceil(fraction * active) weights of a tensor and grows as many among all its inactive ones, the
    just-dropped included, so the number of active weights of every tensor is preserved exactly, also where
    all grow scores are equal. ``fraction`` lies in [0, 1].
    """
    counts = num_to_drop(masks, fraction)
    return grow(drop(masks, drop_scores, counts), grow_scores, counts)
