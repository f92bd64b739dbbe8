"""One adaptive threshold drops, layers grow by what they keep."""

from typing import Annotated

from granet import criteria
from granet.common.keys import Key
from granet.distributions import by_active
from granet.drops import Drop, below_threshold
from granet.inits.random import random
from granet.method import Method, Regenerate
from granet.methods.dense_layers import DENSE_LAYERS, count_sparing, rule_sparing
from granet.methods.parameters import (
    LAYER_SPARSITIES,
    DenseLayersName,
    InitDistribution,
    RegenerateShare,
    Sparsity,
    UpdateInterval,
    checked,
)
from granet.types import Snapshot, Tensors

DOUBLED_AT = (0.25, 0.5, 0.75)
"""1000, 2000, 4000 and 8000 steps of 256 images from epoch 0, 25, 50 and 75 of 100 in the released code."""


def elsewhere(snapshot: Snapshot) -> Tensors:
    """Uniform noise, and less than any of it where a weight was active: what has just been dropped comes last."""
    scores = criteria.random(snapshot)
    for name, mask in snapshot.masks.items():
        scores[name].masked_fill_(mask, -1.0)
    return scores


@checked
def dsr(
    *,
    sf: Sparsity,
    update_interval: UpdateInterval = 2000,
    num_wanted: Annotated[
        int,
        Key(
            "weights that the threshold aims to drop, of ResNet-50's 25.5 million; scaled to the network's",
            at_least=0,
        ),
    ] = 400_000,
    threshold: Annotated[
        float, Key("initial threshold on the magnitude; it doubles or halves", above=0)
    ] = 1e-3,
    tolerance: Annotated[
        float, Key("deviation from the aim that changes the threshold, a fraction", above=0)
    ] = 0.1,
    regenerate_until: RegenerateShare = 0.95,
    distribution: InitDistribution = "uniform",
    dense_layers: DenseLayersName = "shortcuts",
) -> Method:
    """DSR (Mostafa & Wang 2019): one adaptive threshold drops, layers grow in proportion to what they keep.

    As its released code runs ResNet-50 on ImageNet, in steps of 128 images: the interval doubles after each quarter.
    """
    dense = DENSE_LAYERS[dense_layers]
    remember, count = below_threshold(threshold, tolerance, num_wanted)
    return Method(
        "sparse_to_sparse",
        random(rule_sparing(LAYER_SPARSITIES[distribution], dense), sf),
        update_interval,
        regenerate=Regenerate(
            Drop(criteria.magnitude, count_sparing(count, dense), remember),
            elsewhere,
            until=regenerate_until,
            reallocate=by_active,
            doubled_at=DOUBLED_AT,
        ),
    )
