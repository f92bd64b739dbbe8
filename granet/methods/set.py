"""Drop by magnitude, grow at random."""

from granet import criteria
from granet.drops import Drop
from granet.inits.random import random
from granet.method import Method, Regenerate
from granet.methods.parameters import (
    LAYER_SPARSITIES,
    DropFraction,
    DropFractionFinal,
    InitDistribution,
    Sparsity,
    UpdateInterval,
    checked,
)


@checked
def set_(
    *,
    sf: Sparsity,
    update_interval: UpdateInterval = 352,
    drop_fraction: DropFraction = 0.3,
    drop_fraction_final: DropFractionFinal = 0.3,
    distribution: InitDistribution = "er",
) -> Method:
    """SET (Mocanu et al. 2018): drop by magnitude, grow at random, once an epoch (352 steps on CIFAR-10)."""
    return Method(
        "sparse_to_sparse",
        random(LAYER_SPARSITIES[distribution], sf),
        update_interval,
        regenerate=Regenerate(Drop(criteria.magnitude), criteria.random, drop_fraction, drop_fraction_final),
    )
