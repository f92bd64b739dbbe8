"""Constant fan-in: all active neurons of a layer have as many incoming weights (SRigL, Lasby et al. 2024).

A neuron is an entry of axis 0: an output with its fan-in, the product of the other axes. A layer of fan-in k has k
times its neurons as its budget. Where neurons are ablated, the others share that: k' = floor(budget / active neurons).
"""

from dataclasses import dataclass
from math import ceil, prod

import torch
from torch import Tensor

from granet.common.selection import highest
from granet.distributions import LayerSparsity, budget, classifier
from granet.methods.n_of_m import check_inputs, noise
from granet.types import Counts, InitContext, Masks, Shapes, Tensors


@dataclass(frozen=True)
class FanIn:
    """The fan-in of every layer, by a rule of layer sparsities, and the neurons that an update ablates.

    A neuron with fewer than ``gamma`` k salient weights is ablated, but not in the last linear layer.
    """

    rule: LayerSparsity
    sparsity: float
    gamma: float

    def of(self, shapes: Shapes) -> Counts:
        """k of every layer, at least 1: the rule's share rounded down, and one more where the whole budget has room.

        >>> FanIn(lambda shapes, s: dict.fromkeys(shapes, s), 0.5, 0.0).of({"a": (4, 5), "b": (2, 3)})
        {'a': 2, 'b': 2}
        """
        layers = self.rule(shapes, self.sparsity)
        shares = {name: (1 - layers[name]) * prod(shape[1:]) for name, shape in shapes.items()}
        counts = {name: max(1, int(share + 1e-9)) for name, share in shares.items()}
        left = budget(shapes, self.sparsity) - sum(counts[name] * shapes[name][0] for name in shapes)
        for name in sorted(shapes, key=lambda name: (round(counts[name] - shares[name], 6), name)):
            if counts[name] < shares[name] - 1e-9 and shapes[name][0] <= left:
                counts[name] += 1
                left -= shapes[name][0]
        return counts

    def initial(self, context: InitContext) -> Masks:
        """An `Init`: k inputs of every neuron at random. Raises UserError for transposed convolutions."""
        check_inputs(context, "fan-in")
        counts = self.of(context.shapes)
        return {
            name: of_rows(scores, torch.ones_like(scores, dtype=torch.bool), counts[name])
            for name, scores in noise(context).items()
        }

    def growth(self, left: Masks, drop_scores: Tensors, grow_scores: Tensors, num_grown: Counts) -> Masks:
        """A `Growth`: ablate neurons, and fill up all others by the growth scores to the fan-in k'.

        A layer that dropped nothing, as a dense one, stays as it is.
        """
        shapes = {name: tuple(mask.shape) for name, mask in left.items()}
        counts, last = self.of(shapes), classifier(shapes)
        active = dict(left)
        for name, mask in left.items():
            if num_grown[name]:
                gamma = 0.0 if name in last else self.gamma
                alive = self._alive(mask, grow_scores[name], num_grown[name], counts[name], gamma)
                active[name] = filled(
                    mask, drop_scores[name], grow_scores[name], alive, counts[name] * len(mask)
                )
        return active

    def _alive(self, left: Tensor, scores: Tensor, num_grown: int, k: int, gamma: float) -> Tensor:
        """Which neurons are not ablated, (O,).

        Salient are the weights that the drop has left, and as many of the highest growth scores as it has dropped. At
        least as many neurons stay, those with the most, as the layer's budget fills.
        """
        salient = left | highest(scores, torch.ones_like(left), num_grown)
        counts = salient.flatten(1).sum(1)
        alive = counts >= max(1, int(gamma * k)) if gamma else torch.ones_like(counts, dtype=torch.bool)
        least = ceil(k * len(left) / left[0].numel())
        alive[counts.argsort(descending=True, stable=True)[:least]] = True
        return alive


def filled(left: Tensor, drop_scores: Tensor, grow_scores: Tensor, alive: Tensor, total: int) -> Tensor:
    """A mask in which every neuron of ``alive`` has floor(total / their number) active weights, and no other has any.

    Of what a drop has left the highest drop scores stay, and the highest growth scores are grown.

    >>> left, scores = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1]]) > 0, torch.tensor([[3.0, 2.0, 1.0]]).expand(3, 3)
    >>> filled(left, scores, scores, torch.tensor([True, True, False]), 4).int().tolist()
    [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
    """
    fan_in = total // int(alive.sum())
    rows = alive.view(-1, *[1] * (left.dim() - 1))
    stay = of_rows(drop_scores, left & rows, fan_in)
    missing = fan_in - stay.flatten(1).sum(1)
    return stay | of_rows(grow_scores, ~stay & rows, missing)


def of_rows(scores: Tensor, candidates: Tensor, counts: int | Tensor) -> Tensor:
    """Mask of the highest candidates of every entry of axis 0, ``counts`` of each; ties go to the lower index."""
    order = (
        scores.masked_fill(~candidates, -torch.inf).flatten(1).argsort(dim=1, descending=True, stable=True)
    )
    numbers = torch.arange(order.shape[1], device=order.device).expand_as(order)
    places = torch.empty_like(order).scatter_(1, order, numbers)
    wanted = counts[:, None] if isinstance(counts, Tensor) else counts
    return (places < wanted).view_as(candidates) & candidates
