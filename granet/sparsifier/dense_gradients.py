"""The dense gradient that a mask update reads, while .grad itself is projected onto the masks."""

from torch import Tensor

from granet.common.memory import empty_like
from granet.types import Masks, Tensors


def copy(tensor: Tensor) -> Tensor:
    """A clone, in memory that is there at once."""
    return empty_like(tensor).copy_(tensor)


class DenseGradients:
    """A copy, because .grad is projected, and some optimizers write into it (SGD's fused forms with Nesterov)."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Tensor, Tensor]] = {}

    def keep(self, gradients: Tensors, masks: Masks) -> None:
        """Copy the gradients of masked weights.

        Where gradients accumulate over several backward passes, a .grad that was projected after an earlier one lacks,
        outside of the mask, what is kept of that one.
        """
        for name in masks.keys() & gradients.keys():
            gradient = gradients[name]
            before, projected = self._kept.get(name, (gradient, None))
            dense = gradient + before * ~masks[name] if projected is gradient else copy(gradient)
            self._kept[name] = (dense, gradient)

    def read(self) -> Tensors:
        """What is kept, by name; a weight that no gradient has reached is not in it."""
        return {name: dense for name, (dense, _) in self._kept.items()}

    def clear(self) -> None:
        """Forget them."""
        self._kept = {}
