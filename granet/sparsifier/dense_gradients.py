"""The dense gradient that a mask update reads, while .grad itself is projected onto the masks."""

from collections.abc import Iterable

import torch
from torch import Tensor

from granet.criteria import all_finite
from granet.types import Masks, Tensors


class DenseGradients:
    """A copy, because .grad is projected, and some optimizers write into it (SGD's fused forms with Nesterov)."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Tensor, Tensor]] = {}
        self._sum: Tensors = {}
        """Of earlier steps, where growth goes by the mean of several."""
        self._num_steps = 0

    def keep(self, gradients: Tensors, masks: Masks, *, projects: bool) -> None:
        """Copy the gradients of masked weights.

        Where gradients accumulate over several backward passes, a .grad that was projected after an earlier one lacks,
        outside of the mask, what is kept of that one. ``projects``: whether it was.
        """
        for name in masks.keys() & gradients.keys():
            gradient = gradients[name]
            before, projected = self._kept.get(name, (gradient, None))
            dense = (
                gradient + before * ~masks[name] if projects and projected is gradient else gradient.clone()
            )
            self._kept[name] = (dense, gradient)

    def end_step(self) -> None:
        """A step without an update is over: what is kept of it counts in the next update's mean."""
        if self._kept:
            for name, (dense, _) in self._kept.items():
                self._sum[name] = self._sum[name] + dense if name in self._sum else dense
            self._num_steps += 1
            self._kept = {}

    def read(self, weights: Tensors) -> Tensors:
        """The gradient of every weight, by name; zero for one that none has reached (an unused layer)."""
        self.end_step()
        zeros = {name: torch.zeros_like(weight) for name, weight in weights.items() if name not in self._sum}
        found = {n: s / self._num_steps if self._num_steps > 1 else s for n, s in self._sum.items()}
        every = zeros | found
        return {name: every[name] for name in weights}

    def forget_broken(self, gradients: Iterable[Tensor]) -> None:
        """Where a step was left out: forget all if one of its gradients is not finite. Finite ones go on accumulating.

        ``gradients``: those of all parameters, as what is broken may be no masked weight's.
        """
        kept = {name: dense for name, (dense, _) in self._kept.items()}
        if kept and not all_finite(kept, {str(number): g for number, g in enumerate(gradients)}):
            self._kept = {}

    def clear(self) -> None:
        """Forget them, those of earlier steps too."""
        self._kept, self._sum, self._num_steps = {}, {}, 0

    def state_dict(self) -> dict:
        """Between two steps: the sum of earlier ones, if there is any."""
        return (
            {"gradients": {"sum": dict(self._sum), "num_steps": self._num_steps}} if self._num_steps else {}
        )

    def load_state_dict(self, state: dict, weights: Tensors) -> None:
        """What `state_dict` gave."""
        self.clear()
        held = state.get("gradients", {"sum": {}, "num_steps": 0})
        self._sum = {name: value.to(weights[name].device) for name, value in held["sum"].items()}
        self._num_steps = held["num_steps"]
