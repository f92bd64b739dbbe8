"""Drop by magnitude, grow by gradient."""

from granet.criteria import gradient
from granet.drops import Drop
from granet.inits.random import random
from granet.method import Method, Regenerate
from granet.methods.drop_criteria import DROP_CRITERIA, DropCriterionName
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


@checked
def rigl(
    *,
    sf: Sparsity,
    update_interval: UpdateInterval = 1000,
    drop_fraction: DropFraction = 0.5,
    drop_fraction_final: DropFractionFinal = 0.005,
    regenerate_until: RegenerateShare = 1.0,
    distribution: InitDistribution = "erk",
    regrown: Regrown = "zero",
    drop_criterion: DropCriterionName = "magnitude",
) -> Method:
    """RigL (Evci et al. 2020): drop by magnitude, grow by gradient; defaults as in GraNet's runs of it."""
    return Method(
        "sparse_to_sparse",
        random(LAYER_SPARSITIES[distribution], sf),
        update_interval,
        regenerate=Regenerate(
            Drop(DROP_CRITERIA[drop_criterion]),
            gradient,
            drop_fraction,
            drop_fraction_final,
            regenerate_until,
        ),
        regrown=regrown,
    )
