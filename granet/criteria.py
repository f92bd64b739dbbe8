"""Criteria: a snapshot of one step -> scores; the higher, the sooner a weight is kept or grown."""

from collections.abc import Callable

import torch

from granet.seeds import stable_seed
from granet.types import Snapshot, Tensors

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
            generator=torch.Generator().manual_seed(
                stable_seed("random", snapshot.seed, snapshot.step, name)
            ),
        ).to(weight.device)
        for name, weight in snapshot.weights.items()
    }


READS_GRADIENT: frozenset[Criterion] = frozenset({gradient})
"""Criteria that need the dense gradient, whose computation costs FLOPs."""
