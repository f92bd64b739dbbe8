"""N:M masks that follow the magnitude at every step, in the forward."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated

import torch
from torch import Tensor
from torch.optim import Optimizer

from granet.common.keys import Key
from granet.criteria import magnitude
from granet.inits.random import trained_magnitude
from granet.method import Method, Prune
from granet.methods.dense_layers import DENSE_LAYERS
from granet.methods.n_of_m import BlockSize, Pattern
from granet.methods.parameters import DenseLayersName, Sparsity, UpdateInterval, checked
from granet.projection import Feedback, Forward, Masked
from granet.types import Tensors


class SparseRefined(Feedback):
    """w m forward; backward, the gradient of w m for all weights, and ``decay`` times w for masked ones besides.

    w <- w - η (g(m w) + decay (1 - m) w), Zhou et al. 2021. As in its code it is a part of the gradient, so that the
    momentum sees it; once per optimizer step, however many backward passes there are.
    """

    def __init__(self, mask: Tensor, decay: float) -> None:
        super().__init__(mask)
        self.decay = decay
        self._is_pulled = False

    @torch.no_grad()
    def before_step_(self, weight: Tensor) -> None:
        """Add the pull on masked weights."""
        if not self._is_pulled and weight.grad is not None:
            weight.grad.add_(self.decay * weight.detach() * ~self.mask)
            self._is_pulled = True

    def after_step_(self) -> None:
        """The next gradient has none yet."""
        self._is_pulled = False


class Refine(Forward):
    """SR-STE's: the forward is masked, the gradient reaches all weights, and masked ones are pulled to zero."""

    def __init__(self, decay: float) -> None:
        super().__init__(partial(SparseRefined, decay=decay), dense_gradient=True)

    def before_step_(self, weights: Tensors, modules: Mapping[str, Masked], optimizer: Optimizer) -> None:
        """The pull goes into the gradient."""
        for name, module in modules.items():
            if isinstance(module, SparseRefined):
                module.before_step_(weights[name])

    def after_step_(self, weights: Tensors, modules: Mapping[str, Masked]) -> None:
        """It has."""
        for module in modules.values():
            if isinstance(module, SparseRefined):
                module.after_step_()


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
    init = pattern.initial(trained_magnitude)
    return Method("dense_to_sparse", init, update_interval, prune, projection=Refine(decay))
