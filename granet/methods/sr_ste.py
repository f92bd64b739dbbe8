"""N:M masks that follow the magnitude at every step, in the forward."""

from functools import partial
from typing import Annotated, Any

import torch
from torch import Tensor

from granet.common.keys import Key
from granet.criteria import magnitude
from granet.inits.random import trained_magnitude
from granet.method import Method, Prune
from granet.methods.dense_layers import DENSE_LAYERS
from granet.methods.n_of_m import BlockSize, Pattern
from granet.methods.parameters import DenseLayersName, Sparsity, UpdateInterval, checked
from granet.projection import Forward, Masked


class SparseRefined(Masked):
    """w m forward; backward, the gradient of w m for all weights, and ``decay`` times w for masked ones besides.

    w <- w - η (g(m w) + decay (1 - m) w), Zhou et al. 2021. As in its code it is a part of the gradient, so that the
    momentum sees it; with accumulated gradients every backward pass adds it.
    """

    def __init__(self, mask: Tensor, decay: float) -> None:
        super().__init__(mask)
        self.decay = decay

    def forward(self, weight: Tensor) -> Tensor:
        """The weight of the forward."""
        return _Refined.apply(weight, self.mask, self.decay)


class _Refined(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, mask: Tensor, decay: float) -> Tensor:
        ctx.save_for_backward(weight, mask)
        ctx.decay = decay
        return weight * mask

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        weight, mask = ctx.saved_tensors
        return gradients[0] + ctx.decay * weight * ~mask, None, None


@checked
def sr_ste(
    *,
    sf: Sparsity,
    m: BlockSize = 4,
    update_interval: UpdateInterval = 1,
    decay: Annotated[
        float, Key("pull of masked weights towards zero, added to their gradient", at_least=0)
    ] = 2e-4,
    dense_layers: DenseLayersName = "classifier",
) -> Method:
    """SR-STE (Zhou et al. 2021): N:M masks by |w| at every step, straight-through gradients, masked weights decay.

    N = (1 - sf) M, so sf = 0.75 is 1:4. The classifier stays dense, as in its released code, and ``decay`` is that
    code's. So do layers whose inputs M does not divide: there the first convolution is pruned too, in blocks that run
    on from one position into the next. Left out: the paper's measure of how much masks change (SAD).
    """
    pattern = Pattern.of(sf, m, DENSE_LAYERS[dense_layers])
    prune = Prune(sf, sf, 0, update_interval, 0.0, pattern.counts, pattern.ranked(magnitude), until="end")
    projection = Forward(partial(SparseRefined, decay=decay), dense_gradient=True)
    init = pattern.initial(trained_magnitude)
    return Method("dense_to_sparse", init, update_interval, prune, projection=projection)
