"""Drops: which active weights a regeneration drops. A criterion ranks them, and a count says how many go.

Counts may depend on the data, and may need a memory between updates (a dict of tensors, part of a checkpoint).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from granet.criteria import Criterion, sign_flip
from granet.distributions import Distribution, global_
from granet.masks import num_active
from granet.types import Counts, Masks, Tensors, UserError
from granet.update import num_to_drop

Count = Callable[[Tensors, Masks, float, Tensors], tuple[Counts, Tensors]]
"""(scores, masks, drop fraction, memory) -> how many weights each tensor drops, and the memory from now on."""
RESNET50 = 25_502_912
"""Weights of the convolutions and the classifier of ImageNet's ResNet-50."""


def by_fraction(scores: Tensors, masks: Masks, fraction: float, memory: Tensors) -> tuple[Counts, Tensors]:
    """ceil(fraction * active weights) of every tensor, whatever their scores (SET, RigL, GraNet)."""
    return num_to_drop(masks, fraction), memory


def globally(scores: Tensors, masks: Masks, fraction: float, memory: Tensors) -> tuple[Counts, Tensors]:
    """ceil(fraction * active weights) of all tensors together: the lowest scores, wherever they are."""
    active = num_active(masks)
    total = sum(active.values())
    left = total - math.ceil(fraction * total - 1e-9)
    kept = global_(scores, masks, 1 - left / sum(mask.numel() for mask in masks.values()))
    return {name: active[name] - kept[name] for name in masks}, memory


@dataclass(frozen=True)
class DownTo:
    """Down to what ``distribution`` leaves at ``sparsity``, whatever the fraction (MEST's soft memory bound)."""

    distribution: Distribution
    sparsity: float

    def __call__(
        self, scores: Tensors, masks: Masks, fraction: float, memory: Tensors
    ) -> tuple[Counts, Tensors]:
        """How many weights each tensor drops."""
        kept = self.distribution(scores, masks, self.sparsity)
        return {name: n - kept[name] for name, n in num_active(masks).items()}, memory


down_to = DownTo


def one_stays(count: "Count") -> "Count":
    """As many as ``count`` says, but the last active unit of a tensor stays: without it nothing passes a layer."""

    def limited(scores: Tensors, masks: Masks, fraction: float, memory: Tensors) -> tuple[Counts, Tensors]:
        counts, memory = count(scores, masks, fraction, memory)
        return {name: min(counts[name], max(n - 1, 0)) for name, n in num_active(masks).items()}, memory

    return limited


def below_zero(scores: Tensors, masks: Masks, fraction: float, memory: Tensors) -> tuple[Counts, Tensors]:
    """Every active weight with a negative score (Deep-R: those whose sign has flipped)."""
    return num_active({name: mask & (scores[name] < 0) for name, mask in masks.items()}), memory


def below_threshold(
    initial: float, tolerance: float, num_wanted: int
) -> tuple[Callable[[Tensors], Tensors], Count]:
    """Every active weight below one adaptive threshold H: how to start its memory, and the count.

    DSR (Mostafa & Wang 2019, Algorithm 1): H starts at ``initial``. ``num_wanted`` weights are wanted of a network of
    `RESNET50` weights, at any sparsity, as in the released code; in others as many in proportion. H doubles where all
    tensors together drop fewer than (1 - tolerance) of the wanted number, and halves where they drop more than
    (1 + tolerance).
    """

    def remember(weights: Tensors) -> Tensors:
        wanted = num_wanted * sum(weight.numel() for weight in weights.values()) / RESNET50
        return {
            "threshold": torch.tensor(initial, device="cpu"),
            "wanted": torch.tensor(round(wanted), device="cpu"),
        }

    def count(scores: Tensors, masks: Masks, fraction: float, memory: Tensors) -> tuple[Counts, Tensors]:
        threshold, wanted = float(memory["threshold"]), int(memory["wanted"])
        counts = num_active({name: mask & (scores[name] < threshold) for name, mask in masks.items()})
        dropped = sum(counts.values())
        if dropped < (1 - tolerance) * wanted:
            threshold *= 2
        elif dropped > (1 + tolerance) * wanted:
            threshold /= 2
        return counts, memory | {"threshold": torch.tensor(threshold, device="cpu")}

    return remember, count


def nothing(weights: Tensors) -> Tensors:
    """No memory."""
    return {}


def initial_signs(weights: Tensors) -> Tensors:
    """Which weights are positive now: the signs that Deep-R's connections, active or not, keep for the whole run."""
    return {name: weight > 0 for name, weight in weights.items()}


@dataclass(frozen=True)
class Drop:
    """Drop the lowest ``criterion`` scores of every tensor, as many as ``count`` says."""

    criterion: Criterion
    count: Count = by_fraction
    remember: Callable[[Tensors], Tensors] = nothing
    """The weights of step 0, before they are masked -> the memory of the first update."""

    def __post_init__(self) -> None:
        if self.criterion is sign_flip and self.remember is not initial_signs:
            raise UserError(
                "drop: criterion sign_flip needs the signs of step 0; write remember=initial_signs"
            )
