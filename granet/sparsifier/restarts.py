"""What begins with a round: weights that go back, an optimizer that starts afresh, and what pruning has taken."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from granet.common.optimizers import detached, parts
from granet.masks import num_active, on_host
from granet.method import Method
from granet.types import Masks, Tensors, UserError


class Restarts:
    """The rounds of one run: what they go back to, and the `damage` that the last pruning did.

    The first begins here, with ``masks`` that ``weights`` do not follow yet. ``initial``: the state_dict of a method
    that goes back to the weights from before the run.
    """

    def __init__(
        self,
        method: Method,
        model: nn.Module,
        optimizer: Optimizer,
        initial: Mapping[str, Tensor] | None,
        weights: Tensors,
        masks: Masks,
    ) -> None:
        self._model, self._optimizer = model, optimizer
        self._late = method.restart if isinstance(method.restart, int) and method.rounds > 1 else None
        self._retrains = method.retrain is not None
        self._state = initial if self._late is None else None
        self.damage = 0.0
        """In [0, 1]; only where the method retrains on a budget does anybody ask for it."""
        if self._retrains:
            before = {name: weight != 0 for name, weight in detached(weights).items()}
            self.damage = damage(self._model, weights, before, masks)
        if self._late is None:
            self.restart(method.restart)
        self.after_step(0)

    def after_step(self, step: int) -> None:
        """Keep the state of the step that later rounds begin from."""
        if step == self._late:
            self._state = {name: value.detach().clone() for name, value in self._model.state_dict().items()}

    def prune(self, weights: Tensors, before: Masks, after: Masks) -> None:
        """The masks have changed: look at the weights that go."""
        if self._retrains:
            self.damage = damage(self._model, weights, before, after)

    def restart(self, how: Literal["weights", "lr"] | int | None) -> None:
        """Begin a round: back to earlier weights, or on with the last ones; the optimizer starts afresh."""
        if how is None:
            return
        if how != "lr":
            rewind(self._model, self._state)
        for part in parts(self._optimizer):
            part.state.clear()

    def state_dict(self) -> dict:
        """What a resumed run needs."""
        late = {} if self._late is None else {"rewind": self._state}
        return late | ({"damage": self.damage} if self._retrains else {})

    def load_state_dict(self, state: dict) -> None:
        """Go on from `state_dict`."""
        if self._late is not None:
            self._state = state["rewind"]
        self.damage = state.get("damage", 0.0)


def damage(model: nn.Module, weights: Tensors, before: Masks, after: Masks) -> float:
    """How much of a network a pruning takes: ||W - W_p|| / (||W|| sqrt(s)), the d_1 of ALLR (Zimmer et al. 2023).

    W are all parameters before it, W_p after it, s the share of the active weights that goes. In [0, 1] where the
    smallest go; 0 where none does.
    """
    counts = [sum(num_active(masks).values()) for masks in (before, after)]
    if counts[0] == counts[1]:
        return 0.0
    gone = [detached(weights)[name][~mask].float().square().sum() for name, mask in after.items()]
    everything = [p.detach().float().square().sum() for p in model.parameters()]
    taken, whole = on_host([_total(gone), _total(everything)])
    return (taken / whole / (1 - counts[1] / counts[0])) ** 0.5 if whole else 0.0


def _total(numbers: list[Tensor]) -> Tensor:
    """Of 0-dim tensors, which may lie on several devices."""
    return torch.stack([number.to(numbers[0].device) for number in numbers]).sum()


def rewind(model: nn.Module, state: Mapping[str, Tensor] | None) -> None:
    """Load ``state``. Raises UserError for None, and for the model's own tensors, which follow its training."""
    if state is None:
        raise UserError("rewind='weights' needs the run's initial weights; pass rewind_to to Sparsifier")
    own = {value.data_ptr() for value in model.state_dict().values() if value.numel()}
    if any(value.data_ptr() in own for value in state.values()):
        raise UserError(
            "rewind_to holds the model's own tensors, which training changes; pass copy.deepcopy(model.state_dict()), "
            "made before training"
        )
    model.load_state_dict(state)
