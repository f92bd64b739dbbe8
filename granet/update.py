"""The two verbs of sparse training, on dicts of tensors: `prune` and `regenerate` (= `drop` + `grow`).

No function here changes its arguments. Ties always go to the lower index, so results are deterministic.
"""

import math

from granet.common.selection import highest
from granet.masks import num_active
from granet.types import Counts, Masks, Tensors, UserError


def prune(masks: Masks, scores: Tensors, counts: Counts) -> Masks:
    """Keep the ``counts[name]`` highest-scoring *active* weights of every tensor; sparsity goes up.

    Raises UserError where a count exceeds the active weights: pruning cannot bring weights back.
    """
    active = num_active(masks)
    for name, count in active.items():
        if counts[name] > count:
            raise UserError(
                f"{name}: cannot keep {counts[name]} of {count} active weights; raise the sparsity"
            )
    return {name: highest(scores[name], mask, counts[name]) for name, mask in masks.items()}


def num_to_drop(masks: Masks, fraction: float) -> Counts:
    """ceil(fraction * active weights) of every tensor (the 1e-9 keeps 0.1 * 30 from becoming 4)."""
    return {name: math.ceil(fraction * count - 1e-9) for name, count in num_active(masks).items()}


def drop(masks: Masks, scores: Tensors, num_dropped: Counts) -> Masks:
    """Drop the ``num_dropped[name]`` lowest-scoring active weights of every tensor (Eq. 2 of GraNet)."""
    return prune(masks, scores, {name: n - num_dropped[name] for name, n in num_active(masks).items()})


def grow(masks: Masks, scores: Tensors, num_grown: Counts) -> Masks:
    """Grow the ``num_grown[name]`` highest-scoring inactive weights of every tensor (Eq. 3 of GraNet)."""
    return {name: mask | highest(scores[name], ~mask, num_grown[name]) for name, mask in masks.items()}


def regenerate(masks: Masks, drop_scores: Tensors, grow_scores: Tensors, fraction: float) -> Masks:
    """Zero-cost neuroregeneration, layer by layer (Section 4.2 of GraNet).

    Drops ceil(fraction * active) weights of a tensor and grows as many among all its inactive ones, the
    just-dropped included, so the number of active weights of every tensor is preserved exactly, also where
    all grow scores are equal. ``fraction`` lies in [0, 1].
    """
    counts = num_to_drop(masks, fraction)
    return grow(drop(masks, drop_scores, counts), grow_scores, counts)
