"""Weights that learn without being computed with: what Top-KAST masks in the backward pass."""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor
from torch.optim import Optimizer

from granet.common.optimizers import weight_decays
from granet.common.selection import highest
from granet.projection import Forward, Masked
from granet.types import Tensors


class Explored(Masked):
    """w * m in the forward; the gradient reaches the (1 + ``exploration``) k largest weights, k those of the mask."""

    explored: Tensor

    def __init__(self, mask: Tensor, exploration: float) -> None:
        super().__init__(mask)
        self.exploration = exploration
        self.register_buffer("explored", mask.clone())
        self._rest: Tensor | None = None

    def forward(self, weight: Tensor) -> Tensor:
        """The weight of the forward."""
        learning = weight * self.explored
        return learning + (weight * self.mask - learning).detach()

    def begin(self, weight: Tensor) -> None:
        """Rank what learns."""
        self.refresh(weight)

    @torch.no_grad()
    def refresh(self, weight: Tensor) -> None:
        """Rank anew what learns."""
        count = min(weight.numel(), round((1 + self.exploration) * int(self.mask.count_nonzero())))
        ranked = highest(weight.detach().abs(), torch.ones_like(self.mask), count)
        self.explored.copy_(ranked | self.mask)

    @torch.no_grad()
    def before_step_(self, weight: Tensor, decay: float) -> None:
        """Add what the weights that are explored beyond the mask decay more than the others; once per step."""
        if self._rest is None:
            self._rest = weight.detach().clone()
            if weight.grad is not None and decay > 0:
                density = self.mask.count_nonzero() / self.mask.numel()
                beyond = self.explored & ~self.mask
                weight.grad.add_(weight.detach() * beyond * (decay * (1 / density.clamp(min=1e-12) - 1)))

    @torch.no_grad()
    def after_step_(self, weight: Tensor) -> None:
        """All other weights stay where they were, whatever the optimizer does to them (weight decay)."""
        if self._rest is not None:
            weight.copy_(torch.where(self.explored, weight, self._rest))
            self._rest = None


class Explore(Forward):
    """Top-KAST's two masks: m in the forward, a larger one in the backward pass."""

    exploration: float

    def __init__(self, exploration: float) -> None:
        super().__init__(partial(Explored, exploration=exploration))
        object.__setattr__(self, "exploration", exploration)

    @property
    def inactive_gradients(self) -> float:
        """Every step needs those of the weights that are explored."""
        return self.exploration

    def before_step_(self, weights: Tensors, modules: Mapping[str, Masked], optimizer: Optimizer) -> None:
        """The exploration regulariser: weight decay times 1/D for what is explored beyond the mask."""
        decays = weight_decays(optimizer, weights)
        for name, module in modules.items():
            if isinstance(module, Explored):
                module.before_step_(weights[name], decays[name])

    def after_step_(self, weights: Tensors, modules: Mapping[str, Masked]) -> None:
        """Weights outside of both masks have not moved."""
        for name, module in modules.items():
            if isinstance(module, Explored):
                module.after_step_(weights[name])
