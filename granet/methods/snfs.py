"""Growth within and among layers by a momentum that stays dense."""

from granet.criteria import magnitude, momentum
from granet.distributions import by_momentum
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
from granet.projection import WEIGHT


@checked
def snfs(
    *,
    sf: Sparsity,
    update_interval: UpdateInterval = 352,
    drop_fraction: DropFraction = 0.5,
    drop_fraction_final: DropFractionFinal = 0.0,
    distribution: InitDistribution = "erk",
) -> Method:
    """SNFS (Dettmers & Zettlemoyer 2019): growth, within and among layers, by a momentum that stays dense."""
    return Method(
        "sparse_to_sparse",
        random(LAYER_SPARSITIES[distribution], sf),
        update_interval,
        regenerate=Regenerate(
            Drop(magnitude), momentum, drop_fraction, drop_fraction_final, reallocate=by_momentum
        ),
        projection=WEIGHT,
    )
