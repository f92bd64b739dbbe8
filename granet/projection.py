"""Projections: where the mask acts. On the gradient (the default), on the weight, or in the forward.

On the gradient: a masked weight that gets no gradient stays at zero, and so does its momentum, which is bit by bit
what zeroing both after every step gives (element-wise optimizers). On the weight: the momentum sees the gradient of all
weights and moves masked ones, which are zeroed after every step. In the forward: masked weights keep their values, and
only what the network computes with is masked; the optimizer goes on with the kept values
(parametrizations.weight.original). The mask in a parametrization is the Sparsifier's own tensor, so an update of the
one is an update of the other.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.optim import Optimizer

from granet.masks import apply_
from granet.types import Masks, Tensors, UserError


class Masked(nn.Module):
    """w * m. Masked weights get no gradient but keep their values (original GMP, Zhu & Gupta 2017)."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        """The weight of the forward, of the same shape."""
        return weight * self.mask

    def refresh(self, weight: Tensor) -> None:
        """The mask has changed."""


class Feedback(Masked):
    """w * m forward, but the gradient passes as if nothing were masked (DPF, Lin et al. 2020, Eq. 1-2).

    So a weight that was pruned too early goes on learning from the error of the pruned model, and may come back.
    """

    def forward(self, weight: Tensor) -> Tensor:
        """The weight of the forward; its gradient reaches all of ``weight``."""
        return weight + (weight * self.mask - weight).detach()


class SoftThreshold(Masked):
    """sign(w) * relu(|w| - c * sigmoid(raw)) on active weights (STR, Kusupati et al. 2020, Eq. 4).

    ``raw`` is learned, one number per tensor, with the weights' own weight decay: it says how much harder this tensor
    is thresholded than the others. The factor c brings the sparsity to the wanted one: at every mask update it is set
    so that the threshold is the largest magnitude just masked.
    """

    scale: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask)
        self.raw = nn.Parameter(torch.zeros((), device=mask.device))
        self.register_buffer("scale", torch.zeros((), device=mask.device))

    @property
    def threshold(self) -> Tensor:
        """The learned threshold, up to the factor c; 0-dim."""
        return torch.sigmoid(self.raw)

    def forward(self, weight: Tensor) -> Tensor:
        """The soft-thresholded weight."""
        return weight.sign() * torch.relu(weight.abs() - self.scale * self.threshold) * self.mask

    @torch.no_grad()
    def refresh(self, weight: Tensor) -> None:
        """Move c to the new mask."""
        self.scale.copy_((weight.abs() * ~self.mask).amax() / self.threshold)


Parametrization = Callable[[Tensor], Masked]
"""Mask -> the parametrization of its weight."""


States = dict[str, list[Tensor]]
"""What an optimizer holds for every tensor in the tensor's own shape: momentum, second moments."""


@dataclass(frozen=True)
class Projection:
    """The default: the mask acts on the gradient."""

    dense_gradient: bool = False
    """Every step needs the gradient of all weights: it costs FLOPs."""

    @property
    def keeps_values(self) -> bool:
        """Whether masked weights keep their values, so that every update ranks all weights anew."""
        return False

    def attach(
        self, model: nn.Module, optimizer: Optimizer, weights: Tensors, masks: Masks
    ) -> dict[str, Masked]:
        """Prepare the model for training; returns the parametrization of every weight that has one."""
        return {}

    def backward_(self, gradients: Tensors, masks: Masks) -> None:
        """After a backward pass: what the optimizer may see, in place."""
        apply_(gradients, masks)

    def step_(self, weights: Tensors, masks: Masks) -> None:
        """After an optimizer step without an update of the masks."""

    def clear_(self, weights: Tensors, states: States, kept: Masks) -> None:
        """After an update: zero weights, and same-shaped optimizer state, outside of ``kept``."""
        apply_(weights, kept)
        for name, tensors in states.items():
            for value in tensors:
                value.mul_(kept[name])


@dataclass(frozen=True)
class OnWeight(Projection):
    """The mask acts on the weight after every step; gradient and momentum stay dense (SNFS)."""

    dense_gradient: bool = True

    def backward_(self, gradients: Tensors, masks: Masks) -> None:
        """Nothing: the momentum sees all of it."""

    def step_(self, weights: Tensors, masks: Masks) -> None:
        """A dense momentum moves masked weights at every step."""
        apply_(weights, masks)

    def clear_(self, weights: Tensors, states: States, kept: Masks) -> None:
        """Zero the weights alone."""
        apply_(weights, kept)


@dataclass(frozen=True)
class Forward(Projection):
    """The mask acts in the forward, through a parametrization of every weight (STR, DPF, original GMP)."""

    parametrization: Parametrization = Masked

    def __init__(self, parametrization: Parametrization, *, dense_gradient: bool = False) -> None:
        object.__setattr__(self, "parametrization", parametrization)
        object.__setattr__(self, "dense_gradient", dense_gradient)

    @property
    def keeps_values(self) -> bool:
        """They do."""
        return True

    def attach(
        self, model: nn.Module, optimizer: Optimizer, weights: Tensors, masks: Masks
    ) -> dict[str, Masked]:
        """Put the parametrization on every weight; what it learns goes to the optimizer, in a group of its own."""
        modules = attach(model, weights, masks, self.parametrization)
        if learned := [p for module in modules.values() for p in module.parameters()]:
            optimizer.add_param_group({"params": learned})
        return modules

    def backward_(self, gradients: Tensors, masks: Masks) -> None:
        """Nothing: the forward has masked it."""

    def clear_(self, weights: Tensors, states: States, kept: Masks) -> None:
        """Nothing: masked values are kept."""


def learns_threshold(projection: Projection) -> bool:
    """Whether every weight has a learned soft threshold."""
    return isinstance(projection, Forward) and projection.parametrization is SoftThreshold


GRADIENT = Projection()
WEIGHT = OnWeight()


def same_shaped(optimizer: Optimizer, tensors: Tensors) -> States:
    """What the optimizer holds for every tensor in the tensor's own shape."""
    return {
        name: [
            value
            for value in optimizer.state.get(tensor, {}).values()
            if isinstance(value, Tensor) and value.shape == tensor.shape
        ]
        for name, tensor in tensors.items()
    }


def attach(
    model: nn.Module, weights: Tensors, masks: Masks, parametrization: Parametrization
) -> dict[str, Masked]:
    """Put ``parametrization`` on every weight of ``weights``; the parameters stay the same objects.

    Raises UserError where two layers share a weight: only one of them would be masked.
    """
    modules = {}
    for name, weight in weights.items():
        owner, _, attribute = name.rpartition(".")
        holders = [m for m in model.modules() if getattr(m, "weight", None) is weight]
        if len(holders) > 1:
            raise UserError(
                f"{name} is shared by {len(holders)} layers; this method cannot mask shared weights"
            )
        module = model.get_submodule(owner)
        modules[name] = parametrization(masks[name])
        parametrize.register_parametrization(module, attribute, modules[name])
    return modules


def bake(model: nn.Module, names: list[str]) -> None:
    """Replace the parametrized weights by what the forward made of them: an ordinary model again."""
    for name in names:
        owner, _, attribute = name.rpartition(".")
        parametrize.remove_parametrizations(model.get_submodule(owner), attribute, leave_parametrized=True)
