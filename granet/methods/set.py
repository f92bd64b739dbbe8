"""Drop by magnitude, grow at random."""

from granet import criteria
from granet.drops import Drop, by_fraction
from granet.inits.random import random
from granet.method import Method, Regenerate
from granet.methods.dense_layers import DENSE_LAYERS, count_sparing, rule_sparing
from granet.methods.drop_criteria import DROP_CRITERIA, DropCriterionName
from granet.methods.parameters import (
    LAYER_SPARSITIES,
    DenseLayersName,
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
def set_(
    *,
    sf: Sparsity,
    update_interval: UpdateInterval = 352,
    drop_fraction: DropFraction = 0.3,
    drop_fraction_final: DropFractionFinal = 0.3,
    regenerate_until: RegenerateShare = 1.0,
    distribution: InitDistribution = "er",
    dense_layers: DenseLayersName = "none",
    regrown: Regrown = "zero",
    drop_criterion: DropCriterionName = "magnitude",
) -> Method:
    """SET (Mocanu et al. 2018): drop by magnitude, grow at random, once an epoch (352 steps on CIFAR-10)."""
    dense = DENSE_LAYERS[dense_layers]
    return Method(
        "sparse_to_sparse",
        random(rule_sparing(LAYER_SPARSITIES[distribution], dense), sf),
        update_interval,
        regenerate=Regenerate(
            Drop(DROP_CRITERIA[drop_criterion], count_sparing(by_fraction, dense)),
            criteria.random,
            drop_fraction,
            drop_fraction_final,
            regenerate_until,
        ),
        regrown=regrown,
    )
