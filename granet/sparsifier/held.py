"""What a Sparsifier keeps at zero: masked weights, and what BatchNorm and biases hold for channels that are pruned."""

from collections.abc import Mapping

import torch
from torch import nn
from torch.optim import Optimizer

from granet.common.optimizers import detached, same_shaped
from granet.projection import Projection
from granet.types import Masks, Tensors


class Held:
    """Tensors and their masks, by parameter name. The masks are the Sparsifier's own, and change in place."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        weights: Tensors,
        masks: Masks,
        vectors: Mapping[str, str],
    ) -> None:
        """``vectors``: parameters with an entry per channel -> the key of those channels."""
        self._optimizer = optimizer
        self._vectors = dict(vectors)
        entries = {name: model.get_parameter(name) for name in vectors}
        self.tensors: Tensors = weights | entries
        self.masks: Masks = masks | {
            name: torch.ones_like(vector, dtype=torch.bool) for name, vector in entries.items()
        }

    @property
    def gradients(self) -> Tensors:
        """Those that there are."""
        return {name: tensor.grad for name, tensor in self.tensors.items() if tensor.grad is not None}

    def follow(self, units: Masks) -> None:
        """Set the masks of vectors to those of their channels."""
        for name, key in self._vectors.items():
            self.masks[name].copy_(units[key])

    @torch.no_grad()
    def clear_(self, projection: Projection, kept: Masks) -> None:
        """Zero what the projection wants at zero outside ``kept``, also of the optimizer's state."""
        projection.clear_(detached(self.tensors), same_shaped(self._optimizer, self.tensors), kept)

    def wipe_(self, projection: Projection) -> None:
        """The same outside the masks, also where it is NaN."""
        projection.wipe_(detached(self.tensors), same_shaped(self._optimizer, self.tensors), self.masks)

    @torch.no_grad()
    def mask_(self, copy: nn.Module | Tensors) -> None:
        """Zero the same entries of a copy of the model, or of its tensors by name."""
        named = copy.get_parameter if isinstance(copy, nn.Module) else copy.__getitem__
        for name, mask in self.masks.items():
            weight = named(name)
            weight.mul_(mask.to(weight.device))
