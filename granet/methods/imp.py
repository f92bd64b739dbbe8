"""Iterative magnitude pruning: lottery tickets."""

from typing import Annotated, Literal

from granet.common.keys import Key
from granet.inits.random import everything
from granet.method import Method, Prune
from granet.methods.iterative import iterative, num_rounds
from granet.methods.parameters import TIME, Begun, Sparsity, checked
from granet.schedules import geometric
from granet.types import UserError


@checked
def imp(
    *,
    sf: Sparsity,
    prune_fraction: Annotated[
        float, Key("share of the active weights pruned per round, in [0.01, 1)", at_least=0.01, below=1)
    ] = 0.2,
    rewind: Annotated[
        Literal["weights", "lr"] | int,
        TIME,
        Key(
            "each round starts from: weights (initial) | lr (last) | a point of the first, dense round, as 5ep or 0it",
            at_least=0,
            choices=("weights", "lr"),
        ),
    ] = "weights",
    begun: Begun = 0.0,
) -> Method:
    """IMP (Frankle & Carbin 2019): prune the trained network globally, rewind, train again, in rounds.

    ``rewind`` as a point in time is late rewinding (Frankle et al. 2020, Linear Mode Connectivity, Algorithm 2): the
    first round trains the dense network here; each later one starts from its weights, and its place in the learning
    rates, at that point, with an optimizer that starts afresh. Left out: the analysis of instability that finds it.
    """
    rounds = num_rounds(begun, sf, prune_fraction)
    if isinstance(rewind, int):
        if begun > 0:
            raise UserError(
                f"begun={begun} is of a trained network, and rewind={rewind} trains it here; use weights or lr"
            )
        return Method(
            "dense_to_sparse",
            everything,
            prune=Prune(0.0, sf, 0, None, rounds / (rounds + 1), curve=geometric),
            rounds=rounds + 1,
            restart=rewind,
        )
    return iterative(begun, sf, rounds, rewind)
