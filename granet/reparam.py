"""Parametrizations: methods that change what the forward sees of a weight, and keep the masked values.

The optimizer goes on with the kept values (parametrizations.weight.original); the mask is the Sparsifier's own tensor,
so an update of the one is an update of the other. `attach` puts them on a model, `bake` leaves plain weights.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

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


Reparam = Callable[[Tensor], Masked]
"""Mask -> the parametrization of its weight."""


def attach(model: nn.Module, weights: Tensors, masks: Masks, reparam: Reparam) -> dict[str, Masked]:
    """Put ``reparam`` on every weight of ``weights``; the parameters stay the same objects.

    Raises UserError where two layers share a weight: only one of them would be masked.
    """
    found = {}
    for name, weight in weights.items():
        owner, _, attribute = name.rpartition(".")
        holders = [m for m in model.modules() if getattr(m, "weight", None) is weight]
        if len(holders) > 1:
            raise UserError(
                f"{name} is shared by {len(holders)} layers; this method cannot mask shared weights"
            )
        module = model.get_submodule(owner)
        found[name] = reparam(masks[name])
        parametrize.register_parametrization(module, attribute, found[name])
    return found


def bake(model: nn.Module, names: list[str]) -> None:
    """Replace the parametrized weights by what the forward made of them: an ordinary model again."""
    for name in names:
        owner, _, attribute = name.rpartition(".")
        parametrize.remove_parametrizations(model.get_submodule(owner), attribute, leave_parametrized=True)
