"""Compressed and dense by turns."""

from typing import Annotated

from granet.common.keys import Key
from granet.inits.random import everything
from granet.method import Method, Prune
from granet.methods.parameters import (
    INTERVAL,
    PRUNE_DISTRIBUTIONS,
    TIME,
    PruneDistribution,
    Sparsity,
    Updates,
    checked,
)
from granet.schedules import alternating

DENSE_UNTIL, SPARSE_FROM = 0.1, 0.85
"""Epochs 10 and 85 of 100: the released settings of ResNet-50 on ImageNet."""


@checked
def acdc(
    *,
    sf: Sparsity,
    t0: Annotated[
        int | None, TIME, Key("end of the dense warm-up, 0ep or 0it; auto: 0.1 of the run", at_least=0)
    ] = None,
    tf: Annotated[
        int | None, TIME, Key("start of the last, sparse phase; auto: 0.85 of the run", at_least=0)
    ] = None,
    update_interval: Annotated[
        int,
        INTERVAL,
        Updates(20),
        Key("length of a phase; auto: 20 in a run, as 5 of 100 epochs", at_least=1),
    ] = 2816,
    num_last_dense: Annotated[int, Key("phases that the last dense one lasts, before tf", at_least=0)] = 2,
    distribution: PruneDistribution = "global",
) -> Method:
    """AC/DC (Peste et al. 2021, Algorithm 1): a dense warm-up, sparse and dense phases by turns, sparse in the end.

    A sparse phase begins with the highest |w|. A dense one begins with all weights, the pruned ones at zero, and an
    optimizer that starts afresh, as its released code resets the momentum. All begin at multiples of their length.
    Auto is its ImageNet run of 100 epochs; on CIFAR-100 it has 10 dense epochs of 200, phases of 20, and the last from
    170. Where pruning has emptied a filter, its BatchNorm has variance 0, and weights that come back get gradients
    1/sqrt(eps) = 316 times as large: at a high learning rate and sparsity a small network does not outlive that. Left
    out: its 2:4 pattern, and ending with a dense network.
    """
    curve, counts = alternating(update_interval, num_last_dense), PRUNE_DISTRIBUTIONS[distribution]
    prune_ = Prune(0.0, sf, t0, tf, SPARSE_FROM, counts, curve=curve, start=DENSE_UNTIL)
    return Method("dense_to_sparse", everything, update_interval, prune_)
