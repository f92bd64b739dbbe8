"""Projections: where the mask acts. On the gradient (the default), on the weight, or in the forward.

On the gradient: a masked weight that gets no gradient stays at zero, and so does its momentum, which is bit by bit
what zeroing both after every step gives (element-wise optimizers). On the weight: the momentum sees the gradient of all
weights and moves masked ones, which are zeroed after every step. In the forward: masked weights keep their values, and
only what the network computes with is masked; the optimizer goes on with the kept values
(parametrizations.weight.original). The mask in a parametrization is the Sparsifier's own tensor, so an update of the
one is an update of the other.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.optim import Optimizer

from granet.common.optimizers import States
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

    def begin(self, weight: Tensor) -> None:
        """It stands on this weight from now on."""

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


@dataclass(frozen=True)
class Projection:
    """The default: the mask acts on the gradient."""

    dense_gradient: bool = False
    """Every step needs the gradient of all weights: it costs FLOPs."""

    @property
    def inactive_gradients(self) -> float:
        """Of how many inactive weights every step needs the gradient, for each active one."""
        return math.inf if self.dense_gradient else 0.0

    @property
    def projects_gradient(self) -> bool:
        """Whether `backward_` zeroes gradients."""
        return True

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

    def before_step_(self, weights: Tensors, modules: Mapping[str, Masked], optimizer: Optimizer) -> None:
        """Before an optimizer step, after each of its backward passes: what else goes into it."""

    def after_step_(self, weights: Tensors, modules: Mapping[str, Masked]) -> None:
        """After every optimizer step: what it must not have done."""

    def step_(self, weights: Tensors, masks: Masks) -> None:
        """After an optimizer step without an update of the masks."""

    def clear_(self, weights: Tensors, states: States, kept: Masks) -> None:
        """After an update: zero weights, and same-shaped optimizer state, outside of ``kept``."""
        apply_(weights, kept)
        for name, tensors in states.items():
            for value in tensors:
                value.mul_(kept[name])

    def wipe_(self, weights: Tensors, states: States, masks: Masks) -> None:
        """Zero masked weights and their state also where they are NaN, which a product would keep."""
        for name, tensors in states.items():
            for tensor in (*tensors, weights[name]):
                tensor.masked_fill_(~masks[name], 0.0)


@dataclass(frozen=True)
class OnWeight(Projection):
    """The mask acts on the weight after every step; gradient and momentum stay dense (SNFS)."""

    dense_gradient: bool = True

    @property
    def projects_gradient(self) -> bool:
        """It does not."""
        return False

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
    """The mask acts in the forward, through a parametrization of every weight, as STR's and Top-KAST's do."""

    parametrization: Parametrization = Masked

    def __init__(self, parametrization: Parametrization, *, dense_gradient: bool = False) -> None:
        object.__setattr__(self, "parametrization", parametrization)
        object.__setattr__(self, "dense_gradient", dense_gradient)

    @property
    def projects_gradient(self) -> bool:
        """The forward has masked it, or nothing has."""
        return False

    @property
    def keeps_values(self) -> bool:
        """They do."""
        return True

    def attach(
        self, model: nn.Module, optimizer: Optimizer, weights: Tensors, masks: Masks
    ) -> dict[str, Masked]:
        """Put the parametrization on every weight; what it learns goes to the optimizer, in the weight's group."""
        modules = attach(model, weights, masks, self.parametrization)
        groups = {id(p): group["params"] for group in optimizer.param_groups for p in group["params"]}
        for (
            name,
            module,
        ) in modules.items():  # in no group of its own: a scheduler may know the groups already
            groups[id(weights[name])] += module.parameters()
        return modules

    def backward_(self, gradients: Tensors, masks: Masks) -> None:
        """Nothing: the forward has masked it."""

    def clear_(self, weights: Tensors, states: States, kept: Masks) -> None:
        """Nothing: masked values are kept."""

    def wipe_(self, weights: Tensors, states: States, masks: Masks) -> None:
        """Nothing."""


def learns_threshold(projection: Projection) -> bool:
    """Whether every weight has a learned soft threshold."""
    return isinstance(projection, Forward) and projection.parametrization is SoftThreshold


def thresholds(modules: Mapping[str, Masked]) -> Tensors:
    """The learned threshold of every weight that has one, 0-dim."""
    return {name: m.threshold for name, m in modules.items() if isinstance(m, SoftThreshold)}


def above_threshold(modules: Mapping[str, Masked], weights: Tensors) -> Masks:
    """Where soft thresholds are learned: what the forward does not zero, which differs between updates."""
    soft = {name: module for name, module in modules.items() if isinstance(module, SoftThreshold)}
    return {name: module(weights[name].detach()) != 0 for name, module in soft.items()}


GRADIENT = Projection()
WEIGHT = OnWeight()


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
        if isinstance(module, nn.RNNBase):
            raise UserError(f"{name} is of a {type(module).__name__}, whose forward this method cannot mask")
        modules[name] = parametrization(masks[name])
        modules[name].begin(weight)
        parametrize.register_parametrization(module, attribute, modules[name])
    return modules


def bake(model: nn.Module, names: list[str]) -> None:
    """Replace the parametrized weights by what the forward made of them: an ordinary model again.

    torch's own way takes ``weight`` from a class that deep copies of the module share, and so breaks those. That class
    stays until the last weight of the module is done, and computes the others: so none is registered by its name.
    """
    for name in names:
        owner, _, attribute = name.rpartition(".")
        module: Any = model.get_submodule(owner)
        original = module.parametrizations[attribute].original
        with torch.no_grad():
            original.copy_(getattr(module, attribute))
        del module.parametrizations[attribute]
        if not module.parametrizations:
            del module.parametrizations
            module.__class__ = type(module).__bases__[0]
        module._parameters[attribute] = original
