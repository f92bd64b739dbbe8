"""A thinner dense network, as masks."""

from granet.inits.random import thin_masks
from granet.maskable import check_plain
from granet.method import Method
from granet.methods.parameters import Sparsity, checked
from granet.types import InitContext, Masks


@checked
def small_dense(*, sf: Sparsity) -> Method:
    """Small-Dense: a thinner dense network with as many weights, as masks that keep a block of channels."""

    def thin(context: InitContext) -> Masks:
        check_plain(context.model, context.weights, "a thinner network")
        return thin_masks(context.shapes, sf)

    return Method("before_training", init=thin)
