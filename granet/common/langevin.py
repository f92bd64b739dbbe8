"""The random walk that Deep-R adds to gradient descent."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from granet.common.memory import axes
from granet.common.seeds import stable_seed
from granet.types import Masks, Tensors


@dataclass(frozen=True)
class Langevin:
    """After every optimizer step: w -= lr * l1 * sign(w), w += lr * noise * N(0, 1), on active weights.

    Deep-R (Bellec et al. 2018, Algorithm 1), with the temperature T written as the standard deviation of the noise per
    unit of learning rate: sqrt(2 lr T) = lr * noise.
    """

    l1: float
    noise: float

    def move_(self, weights: Tensors, masks: Masks, lr: Mapping[str, float], *, seed: int, step: int) -> None:
        """Move ``weights`` in place, each with the learning rate ``lr`` of its own parameter group.

        The noise is a function of (seed, step, layer name), the same on every rank. On the CPU it is drawn for active
        weights alone, in the order of their memory; elsewhere for all, since the host does not know where those are.
        """
        for name, weight in weights.items():
            generator = torch.Generator(weight.device).manual_seed(stable_seed("langevin", seed, step, name))
            order = axes(weight)
            flat = weight.permute(order)
            if weight.device.type == "cpu" and flat.is_contiguous():
                places = np.flatnonzero(masks[name].permute(order).numpy())
                moved = flat.flatten()[torch.from_numpy(places)]
                moved.add_(self._pull(moved, generator), alpha=lr[name])
                flat.view(-1).put_(torch.from_numpy(places), moved)
            else:
                weight.add_(self._pull(weight, generator).mul_(masks[name]), alpha=lr[name])

    def _pull(self, weight: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.empty_like(weight, memory_format=torch.contiguous_format).normal_(generator=generator)
        return self.noise * noise - self.l1 * weight.sign()
