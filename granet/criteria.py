"""Criteria: a snapshot of one step -> scores; the higher, the sooner a weight is kept or grown."""

from collections.abc import Callable

import torch

from granet.common.seeds import stable_seed
from granet.types import Snapshot, Tensors, UserError

Criterion = Callable[[Snapshot], Tensors]


def magnitude(snapshot: Snapshot) -> Tensors:
    """|w| (Eq. 2 of GraNet): a small weight contributes little to the loss."""
    return {name: weight.abs() for name, weight in snapshot.weights.items()}


def gradient(snapshot: Snapshot) -> Tensors:
    """|g|, the dense gradient of this step's minibatch (Eq. 3 of GraNet, after RigL)."""
    return {name: grad.abs() for name, grad in snapshot.gradients.items()}


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

    Raises UserError where the optimizer has none.
    """
    if missing := sorted(set(snapshot.weights) - set(snapshot.momentum)):
        raise UserError(f"momentum: the optimizer holds none for {missing[0]}; set momentum above 0")
    return {name: value.abs() for name, value in snapshot.momentum.items()}


def sign_flip(snapshot: Snapshot) -> Tensors:
    """w times its sign at step 0: negative where the sign has flipped (Deep-R, Bellec et al. 2018)."""
    return {
        name: torch.where(snapshot.memory[name], weight, -weight) for name, weight in snapshot.weights.items()
    }


def over_threshold(snapshot: Snapshot) -> Tensors:
    """|w| over the learned threshold of its tensor (STR, Kusupati et al. 2020)."""
    return {name: weight.abs() / snapshot.thresholds[name] for name, weight in snapshot.weights.items()}


READS_GRADIENT: frozenset[Criterion] = frozenset({gradient})
"""Criteria that need the dense gradient, whose computation costs FLOPs. A new one that reads it belongs in here."""


def all_finite(*scores: Tensors) -> bool:
    """Whether no score is NaN or infinite. One question to the device, however many tensors there are."""
    flags = [score.isfinite().all() for tensors in scores for score in tensors.values()]
    return not flags or bool(torch.stack([flag.to(flags[0].device) for flag in flags]).all())


def all_zero(scores: Tensors) -> list[str]:
    """The tensors in which no score differs from zero. One question to the device."""
    if not scores:
        return []
    flags = [score.any() for score in scores.values()]
    is_any = torch.stack([flag.to(flags[0].device) for flag in flags]).tolist()
    return [name for name, one in zip(scores, is_any, strict=True) if not one]
