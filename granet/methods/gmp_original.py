"""Gradual magnitude pruning whose masked weights keep their values."""

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
from granet.projection import Forward, Masked


@checked
def gmp_original(
    *,
    sf: Sparsity,
    t0: PruneStart = 0,
    tf: PruneEnd = None,
    update_interval: UpdateInterval = 1000,
    distribution: PruneDistribution = "uniform",
) -> Method:
    """Original GMP (Appendix C.3 of GraNet): masked weights keep their values, and may come back."""
    prune_ = gradual(sf, t0, tf, distribution)
    return Method("dense_to_sparse", everything, update_interval, prune_, projection=Forward(Masked))
