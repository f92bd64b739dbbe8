"""Gradual magnitude pruning whose masked weights keep their values."""

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
from granet.projection import Forward, Masked


@checked
def gmp_original(
    *,
    sf: Sparsity,
    t0: PruneStart = 0,
    tf: PruneEnd = None,
    update_interval: UpdateInterval = 1000,
    distribution: PruneDistribution = "uniform",
    dense_layers: DenseLayersName = "first",
) -> Method:
    """Original GMP (Appendix C.3 of GraNet): masked weights keep their values, and may come back.

    Layers as Gale et al. 2019 prune them: the first convolution not at all, the classifier never above 0.8.
    """
    prune_ = gradual(sf, t0, tf, distribution, dense_layers=DENSE_LAYERS[dense_layers])
    return Method("dense_to_sparse", everything, update_interval, prune_, projection=Forward(Masked))
