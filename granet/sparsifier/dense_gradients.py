"""The dense gradient that a mask update reads, while .grad itself is projected onto the masks."""

import torch
from torch import Tensor

from granet.common.memory import empty_like
from granet.criteria import all_finite
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

    def read(self, weights: Tensors) -> Tensors:
        """What is kept of every weight, by name; zero for one that no gradient has reached (an unused layer)."""
        return {
            name: self._kept[name][0] if name in self._kept else torch.zeros_like(weight)
            for name, weight in weights.items()
        }

    def forget_broken(self) -> None:
        """Where a step was left out: forget all if one is not finite. Finite ones go on accumulating."""
        if not all_finite({name: dense for name, (dense, _) in self._kept.items()}):
            self.clear()

    def clear(self) -> None:
        """Forget them."""
        self._kept = {}
