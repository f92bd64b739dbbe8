"""Sparsity made real: channels that nothing needs are cut out. Masks only simulate it, by computing with zeros."""

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from granet.deploy.norms import fold_norms
from granet.deploy.spare import silence
from granet.sparsifier.coupling import channel_groups
from granet.sparsifier.cutting import resize_, select
from granet.types import Masks, Tensors, UserError


@dataclass(frozen=True)
class Cut:
    """What became of a group of channels that only go together."""

    name: str
    """The first weight that makes them."""
    size: int
    kept: int
    reasons: dict[str, int]
    """How many went, by key of `spare.REASONS`."""


@dataclass(frozen=True)
class Shrunk:
    """A smaller network, its masks, which are of the same weights as before, and what became of every group."""

    model: nn.Module
    masks: Masks
    cuts: list[Cut]


def shrink(model: nn.Module, masks: Masks, *, round_to: int = 1, fold: bool = False) -> nn.Module:
    """The network of `shrunk`, which has its arguments and errors."""
    return shrunk(model, masks, round_to=round_to, fold=fold).model


def shrunk(model: nn.Module, masks: Masks, *, round_to: int = 1, fold: bool = False) -> Shrunk:
    """A dense copy of ``model`` without the channels that its ``masks`` make needless: the same outputs in eval mode.

    A channel goes where it is always zero, where nobody reads it, and where it is a constant that fits into the biases
    of the layers that read it, until nothing changes: single weights empty filters too. Weights not named in ``masks``
    are active. One channel of every group stays; with ``round_to`` a multiple of it, or all of them. ``fold`` puts
    BatchNorm into the weights before it (`norms.fold_norms`). Device, memory format and modes are the model's.

    Raises UserError for masks of another network, for a ``round_to`` below 1, and as `channel_groups` does.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 1)).eval()
    >>> mask = torch.arange(8).view(8, 1, 1, 1).expand(8, 3, 3, 3) < 5
    >>> _ = net[0].weight.data.mul_(mask), net[0].bias.data.copy_(torch.tensor([-1.0] * 7 + [1.0]))
    >>> shrunk(net, {"0.weight": mask}).cuts
    [Cut(name='0.weight', size=8, kept=5, reasons={'zero': 2, 'constant': 1})]
    """
    if round_to < 1:
        raise UserError(f"round_to={round_to} must be at least 1, e.g. 8")
    check_masks(dict(model.named_parameters()), masks)
    model, masks, reasons = silence(model, masks)
    groups = channel_groups(model)
    kept = {group.name: _kept(reasons[group.name], round_to) for group in groups}
    resize_(model, groups, select(kept), lambda name: [masks[name]] if name in masks else [])
    cuts = []
    for group in groups:
        its, left = reasons[group.name], kept[group.name]
        gone = Counter(its) - Counter(its[i] for i in left.tolist())
        cuts.append(Cut(group.name, group.size, len(left), dict(gone)))
    return Shrunk(fold_norms(model) if fold else model, masks, cuts)


def _kept(reasons: list[str], round_to: int) -> Tensor:
    """Indices of the channels that stay, in order: those that are needed, and others up to a multiple."""
    by_need = sorted(range(len(reasons)), key=lambda i: reasons[i] != "")
    number = max(1, reasons.count(""))
    return torch.tensor(sorted(by_need[: -(-number // round_to) * round_to]))


def check_masks(weights: Tensors, masks: Masks) -> None:
    """Raise UserError unless every mask has its weight, of its shape, that is zero where the mask is inactive."""
    for name, mask in masks.items():
        if name not in weights:
            raise UserError(f"masks: {name!r} is no weight of this model; give the masks of the same run")
        if mask.dtype != torch.bool or mask.shape != weights[name].shape:
            raise UserError(
                f"masks[{name!r}] is {mask.dtype} {tuple(mask.shape)} but must be bool of the weight's shape, "
                f"{tuple(weights[name].shape)}; give the masks of the same run"
            )
        if num_wrong := int((weights[name].detach()[~mask.to(weights[name].device)] != 0).sum()):
            raise UserError(
                f"masks[{name!r}]: {num_wrong} weights are not zero where it is inactive; give the same run's masks"
            )
