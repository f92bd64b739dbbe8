"""Granularities: what is pruned as one. Structured pruning is nothing but a granularity.

A unit is a single weight, or a channel: a filter with all that goes when the filter goes. Units travel as dicts of
tensors like weights do, keyed by weight (`ELEMENT`) or by group of channels (`filters`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from granet.types import Masks, Tensors


@dataclass(frozen=True)
class Granularity:
    """How the weights of a network fall into units.

    ``pool``: scores by weight -> one score per unit.
    ``group``: masks by weight -> one bool per unit, True where any weight of it is active.
    ``expand``: (units whose own weights stay, units that others may still read, the weights) -> masks by weight.
    ``vectors``: 1-D parameters with an entry per unit -> the key of those units; an inactive unit's entries are zero.
    """

    pool: Callable[[Tensors], Tensors]
    group: Callable[[Masks], Masks]
    expand: Callable[[Masks, Masks, Tensors], Masks]
    vectors: Mapping[str, str] = field(default_factory=dict)


ELEMENT = Granularity(
    pool=lambda scores: scores, group=lambda masks: masks, expand=lambda own, read, weights: own
)
"""Every weight on its own: unstructured sparsity."""


@dataclass(frozen=True)
class ChannelGroup:
    """Channels of one place in a network, whose filters can only be pruned together."""

    name: str
    """The first of ``outputs``."""
    size: int
    """The number of channels."""
    outputs: tuple[str, ...]
    """Weights whose axis 0 are these channels; several where a residual sum couples them."""
    inputs: tuple[str, ...]
    """Weights whose axis 1 reads them."""
    norms: tuple[str, ...]
    """BatchNorm modules over them."""
    vectors: tuple[str, ...]
    """Parameters with an entry per channel: weight and bias of BatchNorm, biases of ``outputs``."""


def filters(groups: Sequence[ChannelGroup]) -> Granularity:
    """Whole filters, by the sum of the scores of their weights (Li et al. 2017: of |w|), coupled ones together.

    A pruned filter takes its BatchNorm channel and the columns of the layers that read it along, so that its channel
    is exactly zero. A filter that is dropped and grown in one update starts from zero weights, but keeps those:
    without them no gradient would ever reach it.
    """

    def pool(scores: Tensors) -> Tensors:
        return {g.name: torch.stack([scores[n].flatten(1).sum(1) for n in g.outputs]).sum(0) for g in groups}

    def group(masks: Masks) -> Masks:
        return {g.name: torch.stack([masks[n].flatten(1).any(1) for n in g.outputs]).any(0) for g in groups}

    def expand(own: Masks, read: Masks, weights: Tensors) -> Masks:
        masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}
        for g in groups:
            for name in g.outputs:
                masks[name] &= _along(own[g.name], 0, masks[name])
            for name in g.inputs:
                masks[name] &= _along(read[g.name], 1, masks[name])
        return masks

    return Granularity(pool, group, expand, {name: g.name for g in groups for name in g.vectors})


def _along(unit: Tensor, axis: int, like: Tensor) -> Tensor:
    """A vector over ``axis`` of a tensor, ready to be broadcast."""
    return unit.view([-1 if i == axis else 1 for i in range(like.dim())])
