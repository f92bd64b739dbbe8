"""Notices weights that begin to be trained after a Sparsifier was built: they would be dense, silently."""

from torch import Tensor, nn
from torch.optim import Optimizer

from granet.maskable import Choice
from granet.types import Tensors, UserError


class Newcomers:
    """Raises UserError at the first step that trains a weight which was frozen, replaced or not there at the start."""

    def __init__(self, model: nn.Module, optimizer: Optimizer, choice: Choice, weights: Tensors) -> None:
        self._model = model
        self._optimizer = optimizer
        self._choice = choice
        self._weights = weights
        """None of a model whose weights are computed by now."""
        self._frozen = {n: w for n, w in choice.of(model).items() if not w.requires_grad}
        self._num_held = self._count()

    def check(self, *, any_gradient: bool) -> None:
        """After a backward pass. Looks at the model only where something differs."""
        for name, weight in self._frozen.items():
            if weight.requires_grad:
                raise UserError(
                    f"{name} was frozen when the Sparsifier was built and is trained now, without a mask; build the "
                    "Sparsifier first and freeze it then, or exclude it: Sparsifier(..., exclude=)"
                )
        if any_gradient and self._count() == self._num_held:
            return
        for name, weight in self._choice.weights(self._model).items():
            if self._weights.get(name, weight) is not weight:
                raise UserError(
                    f"{name} is another tensor than when the Sparsifier was built (a replaced layer, fully_shard, a "
                    "conversion); build the Sparsifier after that"
                )
            if name not in self._weights and self._is_held(weight):
                raise UserError(
                    f"{name} has come to the model and the optimizer since the Sparsifier was built, and has no mask; "
                    "build the Sparsifier after that, or exclude it: Sparsifier(..., exclude=)"
                )
        self._num_held = self._count()

    def _count(self) -> int:
        return sum(len(group["params"]) for group in self._optimizer.param_groups)

    def _is_held(self, weight: Tensor) -> bool:
        return any(p is weight for group in self._optimizer.param_groups for p in group["params"])
