"""N:M sparsity: of every M consecutive inputs of a filter's position, N weights are active (Mishra et al. 2021).

N is (1 - sf) M: sf = 0.5 with m = 4 is 2:4, sf = 0.75 is 1:4. A layer whose number of inputs M does not divide (the
first convolution, depthwise ones) stays dense, as hardware wants it, so the whole network is less sparse than sf.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from granet.common.keys import Key
from granet.common.seeds import stable_seed
from granet.methods.dense_layers import DenseLayers
from granet.types import Counts, InitContext, Masks, Shapes, Snapshot, Tensors, UserError

BlockSize = Annotated[int, Key("M of N:M, an even number; N = (1 - sf) M has to be whole", at_least=2)]


@dataclass(frozen=True)
class Pattern:
    """N active weights in every block of M, in all layers that M divides but those of ``dense``."""

    n: int
    m: int
    dense: DenseLayers

    @staticmethod
    def of(sparsity: float, m: int, dense: DenseLayers) -> "Pattern":
        """The pattern of a sparsity. Raises UserError where that is none of ``m``."""
        if m % 2:
            raise UserError(f"m={m} must be even: patterns are 2:4, 1:8 and so on")
        if not is_whole((1 - sparsity) * m):
            n = min(max(round((1 - sparsity) * m), 1), m - 1)
            other = next((f", or m to {k}" for k in range(2, 129, 2) if is_whole((1 - sparsity) * k)), "")
            raise UserError(
                f"sf={sparsity:g}, m={m}: {(1 - sparsity) * m:g} of {m} weights is no pattern; set the sparsity to "
                f"{1 - n / m:g} ({n}:{m}){other}"
            )
        n = round((1 - sparsity) * m)
        return Pattern(n, m, dense)

    def fits(self, shapes: Shapes) -> set[str]:
        """The layers that have the pattern; all others are dense."""
        return {name for name, shape in shapes.items() if shape[1] % self.m == 0} - self.dense(shapes)

    def of_layers(self, tensors: Mapping[str, Tensor]) -> set[str]:
        """The same, of tensors."""
        return self.fits({name: tuple(tensor.shape) for name, tensor in tensors.items()})

    def blocks(self, tensor: Tensor) -> Tensor:
        """(blocks, M): consecutive along axis 1, the inputs."""
        return tensor.movedim(1, -1).reshape(-1, self.m)

    def unblocked(self, blocks: Tensor, like: Tensor) -> Tensor:
        """The inverse of `blocks`."""
        return blocks.reshape(like.movedim(1, -1).shape).movedim(-1, 1)

    def places(self, scores: Tensor) -> Tensor:
        """Each weight's place in its block, 0 for the highest score; ties go to the lower index.

        >>> Pattern(1, 4, lambda shapes: set()).places(torch.tensor([[0.1, 0.4, 0.3, 0.4]])).tolist()
        [[3, 0, 2, 1]]
        """
        order = self.blocks(scores).argsort(dim=1, descending=True, stable=True)
        places = torch.empty_like(order).scatter_(
            1, order, torch.arange(self.m, device=order.device).expand_as(order)
        )
        return self.unblocked(places, scores)

    def masks(self, scores: Tensors) -> Masks:
        """The N highest scores of every block."""
        fits = self.of_layers(scores)
        return {
            name: self.places(score) < self.n if name in fits else torch.ones_like(score, dtype=torch.bool)
            for name, score in scores.items()
        }

    def growth(self, left: Masks, drop_scores: Tensors, grow_scores: Tensors, num_grown: Counts) -> Masks:
        """A `Growth`: the highest growth scores of every block, until it has N active weights again."""
        grown = dict(left)
        for name in self.of_layers(left):
            free = grow_scores[name].masked_fill(left[name], -torch.inf)
            missing = self.n - self.blocks(left[name]).sum(1, keepdim=True)
            come = self.blocks(self.places(free)) < missing
            grown[name] = left[name] | self.unblocked(come, left[name])
        return grown

    def counts(self, scores: Tensors, masks: Masks, sparsity: float) -> Counts:
        """A `Distribution`, whatever the sparsity: how many weights stay in each tensor."""
        fits = self.of_layers(masks)
        return {
            name: mask.numel() // self.m * self.n if name in fits else mask.numel()
            for name, mask in masks.items()
        }

    def ranked(self, criterion: Callable[[Snapshot], Tensors]) -> Callable[[Snapshot], Tensors]:
        """``criterion`` within every block: the N M-ths of a tensor that score highest are N of every block."""

        def ranks(snapshot: Snapshot) -> Tensors:
            scores = criterion(snapshot)
            fits = self.of_layers(scores)
            # Where a score is not finite, neither is its rank: the update is left out then.
            return {n: s * 0 - self.places(s) if n in fits else s for n, s in scores.items()}

        return ranks

    def initial(self, scores: Callable[[InitContext], Tensors]) -> Callable[[InitContext], Masks]:
        """An `Init` by scores. Raises UserError where no layer has the pattern, and for transposed convolutions."""

        def init(context: InitContext) -> Masks:
            check_inputs(context, f"{self.n}:{self.m}")
            if not self.fits(context.shapes):
                sizes = ", ".join(str(shape[1]) for shape in context.shapes.values())
                raise UserError(f"m={self.m} divides the inputs of no layer ({sizes}); lower m")
            return self.masks(scores(context))

        return init


def is_whole(number: float) -> bool:
    """Whether a share of a block is a number of weights, at least one.

    >>> is_whole((1 - 0.9) * 10), is_whole(0.4)
    (True, False)
    """
    return round(number) >= 1 and abs(round(number) - number) < 1e-6


def check_inputs(context: InitContext, what: str) -> None:
    """Raise UserError where axis 1 of a weight is not its inputs: in a transposed convolution."""
    for name in context.weights:
        if getattr(context.model.get_submodule(name.rpartition(".")[0]), "transposed", False):
            raise UserError(
                f"{what}: {name} is of a transposed convolution, whose inputs are axis 0; exclude it"
            )


def noise(context: InitContext) -> Tensors:
    """Uniform, a function of (seed, layer name): which weights a random mask has."""
    return {
        name: torch.rand(
            shape,
            generator=torch.Generator("cpu").manual_seed(stable_seed("mask", context.seed, name)),
            device="cpu",
        )
        for name, shape in context.shapes.items()
    }
