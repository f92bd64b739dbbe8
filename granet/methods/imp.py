"""Iterative magnitude pruning: lottery tickets."""

import math
from typing import Annotated, Literal

from granet.common.keys import Key
from granet.inits.random import Highest, trained_magnitude
from granet.method import Method, Prune
from granet.methods.parameters import Sparsity, checked
from granet.schedules import geometric


@checked
def imp(
    *,
    sf: Sparsity,
    prune_fraction: Annotated[
        float, Key("share of the active weights pruned per round, in [0.01, 1)", at_least=0.01, below=1)
    ] = 0.2,
    rewind: Annotated[
        Literal["weights", "lr"],
        Key("each round starts from: weights (initial) | lr (last)", choices=("weights", "lr")),
    ] = "weights",
) -> Method:
    """IMP (Frankle & Carbin 2019): prune the trained network globally, rewind, train again, in rounds."""
    rounds = max(1, math.ceil(math.log(1 - sf) / math.log(1 - prune_fraction) - 1e-9))
    first = 1 - (1 - sf) ** (1 / rounds)
    return Method(
        "after_training",
        Highest(trained_magnitude, first),
        prune=Prune(first, sf, 0, None, (rounds - 1) / rounds, curve=geometric) if rounds > 1 else None,
        rounds=rounds,
        restart=rewind,
    )
