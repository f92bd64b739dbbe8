"""The two verbs of sparse training, on dicts of tensors: `prune` and `regenerate` (= `drop` + `grow`).

No function here changes its arguments. Ties always go to the lower index, so results are deterministic.
"""

import math

import torch

from granet.common.seeds import stable_seed
from granet.common.selection import highest
from granet.masks import num_active, random_inactive
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
    return {
        name: mask.clone() if counts[name] == active[name] else highest(scores[name], mask, counts[name])
        for name, mask in masks.items()
    }


def num_to_drop(masks: Masks, fraction: float) -> Counts:
    """ceil(fraction * active weights) of every tensor (the 1e-9 keeps 0.1 * 30 from becoming 4)."""
    return {name: math.ceil(fraction * count - 1e-9) for name, count in num_active(masks).items()}


def drop(masks: Masks, scores: Tensors, num_dropped: Counts) -> Masks:
    """Drop the ``num_dropped[name]`` lowest-scoring active weights of every tensor (Eq. 2 of GraNet)."""
    return prune(masks, scores, {name: n - num_dropped[name] for name, n in num_active(masks).items()})


def grow(masks: Masks, scores: Tensors, num_grown: Counts) -> Masks:
    """Grow the ``num_grown[name]`` highest-scoring inactive weights of every tensor (Eq. 3 of GraNet)."""
    return {name: mask | highest(scores[name], ~mask, num_grown[name]) for name, mask in masks.items()}


def anywhere(left: Masks, drop_scores: Tensors, grow_scores: Tensors, num_grown: Counts) -> Masks:
    """What a tensor grows may lie anywhere in it: the highest growth scores (RigL, GraNet)."""
    return grow(left, grow_scores, num_grown)


def scatter(masks: Masks, num_grown: Counts, *, seed: int, step: int) -> Masks:
    """Grow ``num_grown[name]`` inactive weights of every tensor, any of them as likely as any other.

    What `grow` makes of random scores, but nothing is drawn for weights that do not grow (on the CPU). A function of
    (seed, step, name), so that every rank draws the same.
    """
    grown = {}
    for name, mask in masks.items():
        generator = torch.Generator(mask.device).manual_seed(stable_seed("scatter", seed, step, name))
        if (
            mask.device.type != "cpu"
        ):  # drawing for all is quick there, and looking where there is room is not
            scores = torch.rand(mask.shape, generator=generator, device=mask.device)
            grown[name] = mask | highest(scores, ~mask, num_grown[name])
            continue
        grown[name] = mask.clone(memory_format=torch.preserve_format)
        places = random_inactive(mask, num_grown[name], generator)
        grown[name][torch.unravel_index(places, mask.shape)] = True
    return grown


def regenerate(masks: Masks, drop_scores: Tensors, grow_scores: Tensors, fraction: float) -> Masks:
    """Zero-cost neuroregeneration, layer by layer (Section 4.2 of GraNet).

    Drops ceil(fraction * active) weights of a tensor and grows as many among all its inactive ones, the
    just-dropped included, so the number of active weights of every tensor is preserved exactly, also where
    all grow scores are equal. ``fraction`` lies in [0, 1].
    """
    counts = num_to_drop(masks, fraction)
    return grow(drop(masks, drop_scores, counts), grow_scores, counts)
