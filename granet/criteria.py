"""Criteria: a snapshot of one step -> scores; the higher, the sooner a weight is kept or grown."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch

from granet.common.seeds import stable_seed
from granet.masks import on_host
from granet.types import Snapshot, Tensors, UserError

Criterion = Callable[[Snapshot], Tensors]


def magnitude(snapshot: Snapshot) -> Tensors:
    """|w| (Eq. 2 of GraNet): a small weight contributes little to the loss."""
    return _magnitudes(snapshot.weights)


def gradient(snapshot: Snapshot) -> Tensors:
    """|g|, the dense gradient of this step's minibatch (Eq. 3 of GraNet, after RigL)."""
    return _magnitudes(snapshot.gradients)


def random(snapshot: Snapshot) -> Tensors:
    """Uniform noise (SET); a function of (seed, step, layer name), so that every rank draws the same."""
    return {
        name: torch.rand(
            weight.shape,
            generator=torch.Generator("cpu").manual_seed(
                stable_seed("random", snapshot.seed, snapshot.step, name)
            ),
            device="cpu",
        ).to(weight.device)
        for name, weight in snapshot.weights.items()
    }


def momentum(snapshot: Snapshot) -> Tensors:
    """|m|, the optimizer's running mean of the dense gradient (SNFS, Dettmers & Zettlemoyer 2019).

    Zero for a weight that has none, as no gradient has reached it. Raises UserError where none has any.
    """
    held = snapshot.momentum
    if not held:
        raise UserError("momentum: the optimizer holds none; set momentum above 0")
    none = {name: torch.zeros_like(w) for name, w in snapshot.weights.items() if name not in held}
    return none | _magnitudes(held)


def sign_flip(snapshot: Snapshot) -> Tensors:
    """w times its sign at step 0: negative where the sign has flipped (Deep-R, Bellec et al. 2018)."""
    signs = {name: torch.empty_like(w).copy_(snapshot.memory[name]) for name, w in snapshot.weights.items()}
    return {name: sign.mul_(2).sub_(1).mul_(snapshot.weights[name]) for name, sign in signs.items()}


def over_threshold(snapshot: Snapshot) -> Tensors:
    """|w| over the learned threshold of its tensor (STR, Kusupati et al. 2020)."""
    return {name: weight.abs() / snapshot.thresholds[name] for name, weight in snapshot.weights.items()}


def connection_sensitivity(snapshot: Snapshot) -> Tensors:
    """|w g|: how much the loss changes, to first order, when the weight goes (SNIP's score; Nowak et al. 2023)."""
    return {name: (weight * snapshot.gradients[name]).abs() for name, weight in snapshot.weights.items()}


def sensitivity(snapshot: Snapshot) -> Tensors:
    """|g| / |w|, how much a step changes the weight (Nowak et al. 2023), with 1e-8 beside |w| as in their code."""
    return {name: _ratio(snapshot.gradients[name], weight) for name, weight in snapshot.weights.items()}


def reciprocal_sensitivity(snapshot: Snapshot) -> Tensors:
    """|w| / |g|, with 1e-8 beside |g|: weights that have settled stay (Nowak et al. 2023)."""
    return {name: _ratio(weight, snapshot.gradients[name]) for name, weight in snapshot.weights.items()}


def _ratio(above: torch.Tensor, below: torch.Tensor) -> torch.Tensor:
    """|above| / (|below| + 1e-8), in float32 where it is half precision, in which 1e-8 is zero."""
    if above.dtype == torch.float16:
        above, below = above.float(), below.float()
    return above.abs() / (below.abs() + 1e-8)


@dataclass(frozen=True)
class MagnitudeAndGradient:
    """|w| + lambda |g| (MEST, Yuan et al. 2021): a weight that is small, but on its way, stays."""

    gradient_weight: float
    """lambda"""
    reads: ClassVar[float] = 0.0

    def __call__(self, snapshot: Snapshot) -> Tensors:
        """The scores."""
        return {
            name: weight.abs().add_(snapshot.gradients[name].abs(), alpha=self.gradient_weight)
            for name, weight in snapshot.weights.items()
        }


READS_GRADIENT: frozenset[Criterion] = frozenset({gradient})
"""Criteria that need the dense gradient, whose computation costs FLOPs. A new one that reads it belongs in here."""
READS_ACTIVE_GRADIENT: frozenset[Criterion] = frozenset(
    {connection_sensitivity, sensitivity, reciprocal_sensitivity}
)
"""Criteria that rank active weights by their gradients, which every step has."""


def reads(criterion: Criterion) -> float | None:
    """Gradients of how many inactive weights a criterion reads, for each active one; None: of no weight at all.

    >>> reads(gradient), reads(sensitivity), reads(magnitude)
    (inf, 0.0, None)
    """
    if criterion in READS_GRADIENT:
        return math.inf
    return 0.0 if criterion in READS_ACTIVE_GRADIENT else getattr(criterion, "reads", None)


def _magnitudes(tensors: Tensors) -> Tensors:
    return {name: tensor.abs() for name, tensor in tensors.items()}


def all_finite(*scores: Tensors) -> bool:
    """Whether no score is NaN or infinite. One question to the device, however many tensors there are; seldom two."""
    values = [score for tensors in scores for score in tensors.values()]
    # A sum costs a tenth of looking at every number. It shows all that is not finite, and may overflow besides.
    if all(map(math.isfinite, on_host([value.sum() for value in values]))):
        return True
    return all(on_host([value.isfinite().all() for value in values]))


def all_zero(scores: Tensors) -> list[str]:
    """The tensors in which no score differs from zero. One question to the device."""
    counts = on_host([score.count_nonzero() for score in scores.values()])
    return [name for name, count in zip(scores, counts, strict=True) if not count]
