"""Granularities: what is pruned as one. Structured pruning is nothing but a granularity."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Granularity:
    """How a weight tensor falls into groups.

    ``pool``: scores of a weight's shape -> one score per group.
    ``expand``: (group mask, a tensor of the weight's shape) -> mask of that shape.
    ``group``: mask of a weight's shape -> one bool per group (True where any weight of it is active).
    """

    pool: Callable[[Tensor], Tensor]
    expand: Callable[[Tensor, Tensor], Tensor]
    group: Callable[[Tensor], Tensor]


ELEMENT = Granularity(pool=lambda scores: scores, expand=lambda mask, like: mask, group=lambda mask: mask)
"""Every weight on its own: unstructured sparsity."""
