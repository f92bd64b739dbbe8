"""Growth within and among layers by a momentum that stays dense."""

from typing import Annotated

from granet.common.keys import Key
from granet.criteria import magnitude, momentum
from granet.distributions import by_momentum, preserve
from granet.drops import Drop
from granet.inits.random import random
from granet.method import Method, Regenerate
from granet.methods.parameters import (
    LAYER_SPARSITIES,
    DropFraction,
    DropFractionFinal,
    InitDistribution,
    RegenerateShare,
    Regrown,
    Sparsity,
    UpdateInterval,
    checked,
)
from granet.projection import WEIGHT

REALLOCATIONS = {"momentum": by_momentum, "preserve": preserve}


@checked
def snfs(
    *,
    sf: Sparsity,
    update_interval: UpdateInterval = 352,
    drop_fraction: DropFraction = 0.5,
    drop_fraction_final: DropFractionFinal = 0.005,
    regenerate_until: RegenerateShare = 1.0,
    reallocate: Annotated[
        str,
        Key(
            "where growth goes: momentum (layers by its mean) | preserve (layers keep their size)",
            choices=tuple(REALLOCATIONS),
        ),
    ] = "momentum",
    distribution: InitDistribution = "erk",
    regrown: Regrown = "zero",
) -> Method:
    """SNFS (Dettmers & Zettlemoyer 2019): growth, within and among layers, by a momentum that stays dense."""
    return Method(
        "sparse_to_sparse",
        random(LAYER_SPARSITIES[distribution], sf),
        update_interval,
        regenerate=Regenerate(
            Drop(magnitude),
            momentum,
            drop_fraction,
            drop_fraction_final,
            regenerate_until,
            REALLOCATIONS[reallocate],
        ),
        projection=WEIGHT,
        regrown=regrown,
    )
