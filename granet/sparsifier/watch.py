"""What goes wrong silently in somebody else's loop: calls out of order, and weights that are trained without a mask."""

from torch import nn
from torch.optim import Optimizer

from granet.common.optimizers import is_element_wise
from granet.maskable import Choice
from granet.sparsifier.loop_order import LoopOrder
from granet.sparsifier.newcomers import Newcomers
from granet.types import Tensors


class Watch:
    """Both, and what the optimizer has done. Raises UserError at the first call that shows a mistake."""

    def __init__(self, model: nn.Module, optimizer: Optimizer, choice: Choice, weights: Tensors) -> None:
        """To be made before the model's weights are computed; ``weights``: those of them that are not."""
        self._optimizer = optimizer
        self._order = LoopOrder(optimizer)
        self._newcomers = Newcomers(model, optimizer, choice, weights)

    def after_backward(self, *, any_gradient: bool) -> None:
        """A backward pass is over."""
        self._newcomers.check(any_gradient=any_gradient)
        self._order.after_backward(any_gradient=any_gradient)

    def after_step(self) -> bool:
        """A turn of the loop is over; returns whether the optimizer has taken its step in it."""
        return self._order.after_step()

    @property
    def may_have_moved(self) -> bool:
        """Whether masked weights may have moved in the last step, though their gradient was zero."""
        return self._order.took_closure or not is_element_wise(self._optimizer)
