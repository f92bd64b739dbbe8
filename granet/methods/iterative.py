"""Rounds of pruning a trained network, which IMP and BIMP share."""

import math
from typing import Literal

from granet.inits.random import Highest, trained_magnitude
from granet.method import Method, Prune, Retrain
from granet.schedules import geometric
from granet.types import UserError


def num_rounds(begun: float, sf: float, prune_fraction: float) -> int:
    """Rounds until ``sf`` is reached or passed, from ``begun`` on.

    >>> num_rounds(0.0, 0.9, 0.2), num_rounds(0.9, 0.95, 0.2), num_rounds(0.95, 0.98, 0.2)
    (11, 4, 5)
    """
    return max(1, math.ceil(math.log((1 - sf) / (1 - begun)) / math.log(1 - prune_fraction) - 1e-9))


def iterative(
    begun: float, sf: float, rounds: int, restart: Literal["weights", "lr"], retrain: Retrain | None = None
) -> Method:
    """Prune globally, train, in ``rounds``, each taking the same share of the active weights, from ``begun`` to ``sf``.

    Raises UserError where ``begun`` is not below ``sf``.
    """
    if begun >= sf > 0:
        raise UserError(f"begun={begun} must be below sf={sf}: pruning only raises the sparsity")
    first = 1 - (1 - begun) * ((1 - sf) / (1 - begun)) ** (1 / rounds)
    return Method(
        "after_training",
        Highest(trained_magnitude, first),
        prune=Prune(first, sf, 0, None, (rounds - 1) / rounds, curve=geometric) if rounds > 1 else None,
        rounds=rounds,
        restart=restart,
        retrain=retrain,
    )
