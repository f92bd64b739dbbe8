"""Gradual pruning with zero-cost neuroregeneration."""

from granet.criteria import gradient, magnitude
from granet.distributions import erk
from granet.drops import Drop
from granet.inits.random import everything, random
from granet.method import Method, Regenerate
from granet.methods.gradual import gradual
from granet.methods.parameters import (
    DropFraction,
    DropFractionFinal,
    InitialSparsity,
    PruneDistribution,
    PruneEnd,
    PruneStart,
    RegenerateUntil,
    Regrown,
    Sparsity,
    UpdateInterval,
    checked,
)


@checked
def granet(
    *,
    sf: Sparsity,
    si: InitialSparsity = 0.0,
    t0: PruneStart = 0,
    tf: PruneEnd = None,
    update_interval: UpdateInterval = 1000,
    drop_fraction: DropFraction = 0.5,
    drop_fraction_final: DropFractionFinal = 0.005,
    regenerate_until: RegenerateUntil = "end",
    distribution: PruneDistribution = "global",
    regrown: Regrown = "zero",
) -> Method:
    """GraNet (Liu et al. 2021): GMP plus zero-cost neuroregeneration; si = 0 from dense, si > 0 from ERK."""
    return Method(
        "sparse_to_sparse" if si > 0 else "dense_to_sparse",
        random(erk, si) if si > 0 else everything,
        update_interval,
        prune=gradual(sf, t0, tf, distribution, si=si),
        regenerate=Regenerate(
            Drop(magnitude), gradient, drop_fraction, drop_fraction_final, regenerate_until
        ),
        regrown=regrown,
    )
