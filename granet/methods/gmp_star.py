"""Gradual magnitude pruning that begins with a jump."""

from typing import Annotated

from granet.common.keys import Key
from granet.inits.random import everything
from granet.method import Method, Prune
from granet.methods.parameters import (
    PRUNE_DISTRIBUTIONS,
    TIME,
    PruneDistribution,
    Sparsity,
    UpdateInterval,
    checked,
)
from granet.schedules import jump

DENSE_UNTIL, PRUNED_AT = 2 / 30, 26 / 30
"""Epochs 2 and 26 of 30."""


@checked
def gmp_star(
    *,
    sf: Sparsity,
    initial_sparsity: Annotated[
        float, Key("what the first update prunes to; sf where that is less", at_least=0, below=1)
    ] = 0.7,
    t0: Annotated[
        int | None, TIME, Key("first update that prunes, 0ep or 0it; auto: 1/15 of the run", at_least=0)
    ] = None,
    tf: Annotated[
        int | None, TIME, Key("last update that prunes; auto: 13/15 of the run", at_least=0)
    ] = None,
    update_interval: UpdateInterval = 1000,
    distribution: PruneDistribution = "global",
) -> Method:
    """GMP* (Kurtic & Alistarh 2022): dense, then at one go to ``initial_sparsity``, and on by the cubic of GMP.

    High sparsities get most of the steps so. The jump to 0.7, epochs 2 and 26 of 30, the cubic and one threshold for
    all layers were read from the authors' public recipes for oBERT, not from the paper; the interval is that of GMP
    here. Left out: the learning rate's cycles and the distillation, which belong to BERT.
    """
    si = min(initial_sparsity, sf)
    prune_ = Prune(
        si, sf, t0, tf, PRUNED_AT, PRUNE_DISTRIBUTIONS[distribution], curve=jump, start=DENSE_UNTIL
    )
    return Method("dense_to_sparse", everything, update_interval, prune_)
