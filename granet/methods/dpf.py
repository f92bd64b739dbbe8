"""Pruning with feedback: the pruned model's gradient trains all weights."""

from granet.inits.random import everything
from granet.method import Method
from granet.methods.dense_layers import DENSE_LAYERS
from granet.methods.gradual import gradual
from granet.methods.parameters import (
    DenseLayersName,
    PruneDistribution,
    PruneEnd,
    PruneStart,
    Sparsity,
    UpdateInterval,
    checked,
)
from granet.projection import Feedback, Forward


@checked
def dpf(
    *,
    sf: Sparsity,
    t0: PruneStart = 0,
    tf: PruneEnd = None,
    update_interval: UpdateInterval = 16,
    distribution: PruneDistribution = "global",
    dense_layers: DenseLayersName = "none",
) -> Method:
    """DPF (Lin et al. 2020): the gradient of the pruned model trains all weights; masks follow to the end.

    Its paper does not say whether the classifier is pruned; of three public codes two leave it dense.
    """
    prune_ = gradual(sf, t0, tf, distribution, until="end", dense_layers=DENSE_LAYERS[dense_layers])
    return Method(
        "dense_to_sparse",
        everything,
        update_interval,
        prune_,
        projection=Forward(Feedback, dense_gradient=True),
    )
