"""The random walk that Deep-R adds to gradient descent."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

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

        The noise is a function of (seed, step, layer name), the same on every rank.
        """
        for name, weight in weights.items():
            generator = torch.Generator(weight.device).manual_seed(stable_seed("langevin", seed, step, name))
            noise = torch.empty_like(weight, memory_format=torch.contiguous_format)
            pull = self.noise * noise.normal_(generator=generator) - self.l1 * weight.sign()
            weight.add_(pull.mul_(masks[name]), alpha=lr[name])
