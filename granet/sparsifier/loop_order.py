"""Notices a training loop that forgets a call or swaps two: without them a sparse network trains densely, silently."""

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from granet.common.optimizers import parts
from granet.types import UserError

ORDER = "the order is: backward(), sparsifier.after_backward(), optimizer.step(), sparsifier.after_step(), zero_grad()"
_watched: "WeakKeyDictionary[Optimizer, RemovableHandle]" = WeakKeyDictionary()
"""The newest Sparsifier of an optimizer is the one that counts."""


def released(optimizer: Optimizer) -> Callable[[], None]:
    """What ends the watch that is on an optimizer now, but not one that another Sparsifier has put on it by then."""
    now = {part: _watched[part] for part in parts(optimizer) if part in _watched}

    def release() -> None:
        for part, handle in now.items():
            if _watched.get(part) is handle:
                _watched.pop(part).remove()

    return release


class LoopOrder:
    """Raises UserError at the first call that is out of order. An optimizer step that is skipped is in order (AMP)."""

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizers = [part for part in parts(optimizer) if getattr(type(part).step, "hooked", False)]
        self._projected = self._stepped = False
        self.took_closure = False
        """Whether the last step was given a closure, whose backward passes may have come after `after_backward`."""
        self._found_inf: Tensor | None = None
        for part in self._optimizers:
            self._watch(part)

    def _watch(self, optimizer: Optimizer) -> None:
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
        for part in self._optimizers:
            if part not in _watched:  # a deep copy, which has no hooks
                self._watch(part)
        self._projected = True

    def after_step(self) -> bool:
        """Ends a turn of the loop; returns whether the optimizer has taken its step in it.

        A scaler that finds infinity leaves the step out (AMP), or has the optimizer leave it out (its fused forms).
        """
        if not self._projected:
            raise UserError(f"after_backward() was not called before after_step(); {ORDER}")
        taken = not self._optimizers or self._stepped
        if self._found_inf is not None:
            taken = taken and not self._found_inf.item()
        self._projected = self._stepped = False
        return taken

    def _after_optimizer(self, optimizer: Optimizer, args: tuple, kwargs: dict[str, Any]) -> None:
        if not self._projected:
            raise UserError(
                f"optimizer.step() without after_backward() before it: masked weights have moved; {ORDER}"
            )
        self._stepped = True
        self.took_closure = any(callable(value) for value in (*args[1:], *kwargs.values()))
        self._found_inf = getattr(optimizer, "found_inf", None)
