"""The largest weights compute, and some more learn."""

from typing import Annotated

from granet.common.keys import Key
from granet.distributions import by_layer
from granet.inits.random import Highest, trained_magnitude
from granet.method import Method, Prune
from granet.methods.dense_layers import DENSE_LAYERS, rule_sparing
from granet.methods.explored import Explore
from granet.methods.parameters import (
    LAYER_SPARSITIES,
    DenseLayersName,
    InitDistribution,
    Sparsity,
    UpdateInterval,
    checked,
)


@checked
def topkast(
    *,
    sf: Sparsity,
    exploration: Annotated[
        float, Key("weights that learn beyond those of the forward, for each of these", at_least=0)
    ] = 1.0,
    update_interval: UpdateInterval = 100,
    distribution: InitDistribution = "uniform",
    dense_layers: DenseLayersName = "first",
) -> Method:
    """Top-KAST (Jayakumar et al. 2020): a layer's k largest |w| compute, the (1 + ``exploration``) k largest learn.

    All weights keep their values, so that those that learn may come in. Instead of plain weight decay the exploration
    regulariser: the optimizer's decay for the former, that over the density for what else learns, none for the rest. It
    is |w| in the formula, and here the decay of |w|^2 / 2. With 1.0, 0.9 forward is 0.8 backward. The authors have no
    public code; others' says that masks are renewed at every step, or every 100 alike, and trained without momentum.
    Left out: an end of the exploration during training.
    """
    counts = by_layer(rule_sparing(LAYER_SPARSITIES[distribution], DENSE_LAYERS[dense_layers]))
    return Method(
        "sparse_to_sparse",
        Highest(trained_magnitude, sf, counts),
        update_interval,
        Prune(sf, sf, 0, update_interval, 1.0, counts, until="end"),
        projection=Explore(exploration),
    )
