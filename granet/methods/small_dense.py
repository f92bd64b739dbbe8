"""A thinner dense network, as masks."""

from granet.inits.random import thin_masks
from granet.method import Method
from granet.methods.parameters import Sparsity, checked


@checked
def small_dense(*, sf: Sparsity) -> Method:
    """Small-Dense: a thinner dense network with as many weights, as masks that keep a block of channels."""
    return Method("before_training", init=lambda context: thin_masks(context.shapes, sf))
