"""Taking back what building a Sparsifier does to a model: the state that is loaded next is of a trained one."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer

from granet.common.optimizers import parts


class Undo:
    """Copies of tensors and of an optimizer's state, from before they are changed.

    What somebody else changes after `changed` was called, by loading a checkpoint say, is left as it is.
    """

    def __init__(self, tensors: Iterable[Tensor], optimizer: Optimizer) -> None:
        self._states = [(part, dict(part.state)) for part in parts(optimizer)]
        inner = (value for _, state in self._states for held in state.values() for value in held.values())
        held = [*tensors, *(value for value in inner if isinstance(value, Tensor))]
        self._copies = [(tensor, tensor.detach().clone()) for tensor in held]
        self._versions: list[int] = []

    def changed(self) -> None:
        """The changes are made: what differs from now on is not ours to take back."""
        self._versions = [tensor._version for tensor, _ in self._copies]

    @torch.no_grad()
    def restore(self) -> None:
        """Back to what was there before."""
        for (tensor, copy), version in zip(self._copies, self._versions, strict=True):
            if tensor._version == version:
                tensor.copy_(copy)
        for optimizer, state in self._states:
            if not optimizer.state:
                optimizer.state.update(state)
