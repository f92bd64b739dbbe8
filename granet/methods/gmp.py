"""Gradual magnitude pruning."""

from granet.inits.random import everything
from granet.method import Method
from granet.methods.gradual import gradual
from granet.methods.parameters import (
    PruneDistribution,
    PruneEnd,
    PruneStart,
    Sparsity,
    UpdateInterval,
    checked,
)


@checked
def gmp(
    *,
    sf: Sparsity,
    t0: PruneStart = 0,
    tf: PruneEnd = None,
    update_interval: UpdateInterval = 1000,
    distribution: PruneDistribution = "global",
) -> Method:
    """GMP (Zhu & Gupta 2017; Gale et al. 2019): gradual magnitude pruning from dense."""
    prune_ = gradual(sf, t0, tf, distribution)
    return Method("dense_to_sparse", everything, update_interval, prune_)
