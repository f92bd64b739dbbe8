"""One adaptive threshold drops, layers grow by what they keep."""

from typing import Annotated

from granet import criteria
from granet.common.keys import Key
from granet.distributions import by_active
from granet.drops import Drop, below_threshold
from granet.inits.random import random
from granet.method import Method, Regenerate
from granet.methods.parameters import LAYER_SPARSITIES, InitDistribution, Sparsity, UpdateInterval, checked


@checked
def dsr(
    *,
    sf: Sparsity,
    update_interval: UpdateInterval = 352,
    drop_fraction: Annotated[
        float, Key("share of all active weights that the threshold aims to drop", at_least=0, at_most=1)
    ] = 0.1,
    threshold: Annotated[
        float, Key("initial threshold on the magnitude; it doubles or halves", above=0)
    ] = 1e-3,
    tolerance: Annotated[
        float, Key("deviation from the aim that changes the threshold, a fraction", above=0)
    ] = 0.1,
    distribution: InitDistribution = "uniform",
) -> Method:
    """DSR (Mostafa & Wang 2019): one adaptive threshold drops, layers grow in proportion to what they keep."""
    remember, count = below_threshold(threshold, tolerance)
    return Method(
        "sparse_to_sparse",
        random(LAYER_SPARSITIES[distribution], sf),
        update_interval,
        regenerate=Regenerate(
            Drop(criteria.magnitude, count, remember),
            criteria.random,
            drop_fraction,
            drop_fraction,
            reallocate=by_active,
        ),
    )
