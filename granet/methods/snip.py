"""Pruning at initialisation by the sensitivity of the loss."""

from functools import partial
from typing import Annotated

from granet.common.keys import Key
from granet.distributions import by_layer, global_, uniform
from granet.inits import saliency
from granet.inits.random import Highest
from granet.method import Method
from granet.methods.dense_layers import DENSE_LAYERS, distribution_sparing
from granet.methods.parameters import DenseLayersName, NumImages, Sparsity, checked

DISTRIBUTIONS = {"global": global_, "uniform": by_layer(uniform)}


@checked
def snip(
    *,
    sf: Sparsity,
    num_images: NumImages = 128,
    distribution: Annotated[
        str, Key("global (one threshold) | uniform (every layer alike)", choices=tuple(DISTRIBUTIONS))
    ] = "global",
    dense_layers: DenseLayersName = "none",
) -> Method:
    """SNIP (Lee et al. 2019): the weights to which the loss is most sensitive at initialisation."""
    counts = distribution_sparing(DISTRIBUTIONS[distribution], DENSE_LAYERS[dense_layers])
    return Method("before_training", Highest(partial(saliency.snip, num_images=num_images), sf, counts))
