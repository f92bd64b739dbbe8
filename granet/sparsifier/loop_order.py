"""Notices a training loop that forgets a call or swaps two: without them a sparse network trains densely, silently."""

from typing import Any
from weakref import WeakKeyDictionary

from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from granet.types import UserError

ORDER = "the order is: backward(), sparsifier.after_backward(), optimizer.step(), sparsifier.after_step(), zero_grad()"
_watched: "WeakKeyDictionary[Optimizer, RemovableHandle]" = WeakKeyDictionary()
"""The newest Sparsifier of an optimizer is the one that counts."""


class LoopOrder:
    """Raises UserError at the first call that is out of order. An optimizer step that is skipped is in order (AMP)."""

    def __init__(self, optimizer: Optimizer) -> None:
        self._projected = self._stepped = False
        if optimizer in _watched:
            _watched[optimizer].remove()
        _watched[optimizer] = optimizer.register_step_post_hook(self._after_optimizer)

    def after_backward(self, *, any_gradient: bool) -> None:
        """May be called more than once before a step, as where gradients are accumulated."""
        if self._stepped:
            raise UserError(f"after_step() was not called after the last optimizer.step(); {ORDER}")
        if not any_gradient:
            raise UserError(
                f"after_backward() finds no gradient: called before backward() or after zero_grad(); {ORDER}"
            )
        self._projected = True

    def after_step(self) -> None:
        """Ends a turn of the loop."""
        if not self._projected:
            raise UserError(f"after_backward() was not called before after_step(); {ORDER}")
        self._projected = self._stepped = False

    def _after_optimizer(self, *_: Any) -> None:
        if not self._projected:
            raise UserError(
                f"optimizer.step() without after_backward() before it: masked weights have moved; {ORDER}"
            )
        self._stepped = True
