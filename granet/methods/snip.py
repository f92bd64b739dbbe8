"""Pruning at initialisation by the sensitivity of the loss."""

from functools import partial

from granet.inits import saliency
from granet.inits.random import highest
from granet.method import Method
from granet.methods.parameters import NumImages, Sparsity, checked


@checked
def snip(*, sf: Sparsity, num_images: NumImages = 128) -> Method:
    """SNIP (Lee et al. 2019): the weights to which the loss is most sensitive at initialisation."""
    return Method("before_training", highest(partial(saliency.snip, num_images=num_images), sf))
