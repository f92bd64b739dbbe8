"""Drop by magnitude, grow by gradient to a constant fan-in; neurons of few salient weights are ablated."""

from typing import Annotated

from granet.common.keys import Key
from granet.criteria import gradient, magnitude
from granet.drops import Drop, by_fraction
from granet.method import Method, Regenerate
from granet.methods.dense_layers import count_sparing
from granet.methods.fan_in import FanIn
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
def srigl(
    *,
    sf: Sparsity,
    update_interval: UpdateInterval = 100,
    drop_fraction: DropFraction = 0.3,
    drop_fraction_final: DropFractionFinal = 0.0,
    regenerate_until: RegenerateShare = 0.75,
    gamma_sal: Annotated[
        float,
        Key(
            "share of its fan-in below which a neuron's salient weights ablate it; 0: none",
            at_least=0,
            at_most=1,
        ),
    ] = 0.3,
    distribution: InitDistribution = "erk",
    regrown: Regrown = "zero",
) -> Method:
    """SRigL (Lasby et al. 2024, Section 3): RigL with a constant fan-in, which ablates neurons of few salient weights.

    Salient are the weights that the drop leaves, and as many of the highest |g| as it takes. An ablated neuron may come
    back; its bias and BatchNorm stay. Fan-ins are whole numbers, so that at most (1 - sf) N weights are active (but one
    of every neuron). Settings of its ResNets; its ViT has uniform layers and ``gamma_sal`` 0.95. Its code ablates
    first, and keeps as many weights among the neurons that stay; here the drop comes first, and what it has left of
    ablated ones goes too. Left out: its condensed format for inference, and initial weights scaled to the fan-in.
    """
    fan_in = FanIn(LAYER_SPARSITIES[distribution], sf, gamma_sal)
    return Method(
        "sparse_to_sparse",
        fan_in.initial,
        update_interval,
        regenerate=Regenerate(
            Drop(magnitude, count_sparing(by_fraction, set)),
            gradient,
            drop_fraction,
            drop_fraction_final,
            regenerate_until,
            growth=fan_in.growth,
        ),
        regrown=regrown,
    )
