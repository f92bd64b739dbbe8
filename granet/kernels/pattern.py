"""Which weights of a convolution are active, as the lists that the kernels walk.

Shapes: weight_OIHW of O output and C input channels and KH x KW taps; L active weights.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Lists(NamedTuple):
    """Active weights row by row. All int32."""

    begin: Tensor
    """(rows + 1,): where each row begins."""
    place: Tensor
    """(L,): (channel * taps_h + y) * taps_w + x."""
    source: Tensor
    """(L,): the place in the memory of the dense weight."""


class Phase(NamedTuple):
    """The inputs of one parity: of a convolution with stride s, each gets its gradient from every s-th tap alone."""

    lists: Lists
    taps: tuple[int, int]
    start: tuple[int, int]
    """The first row and column of the output's gradient that input (0, 0) of this parity reads."""


@dataclass(frozen=True)
class Pattern:
    """Lists for the forward and the weights' gradient, and one phase for each parity of the input."""

    forward: Lists
    phases: tuple[Phase, ...]

    @property
    def num_active(self) -> int:
        """Active weights."""
        return len(self.forward.place)


def pattern_of(
    mask_OIHW: Tensor, weight_OIHW: Tensor, stride: tuple[int, int], padding: tuple[int, int]
) -> Pattern:
    """The lists of a mask; ``weight_OIHW`` tells how the weight lies in memory."""
    mask = mask_OIHW.contiguous()
    steps = zip(mask.shape, weight_OIHW.stride(), strict=True)
    o, c, y, x = (torch.arange(size, dtype=torch.int32) * step for size, step in steps)
    source = o[:, None, None, None] + c[:, None, None] + y[:, None] + x
    phases = []
    for at in ((h, w) for h in range(stride[0]) for w in range(stride[1])):
        first = [(a + p) % s for a, p, s in zip(at, padding, stride, strict=True)]
        taps = tuple(slice(f, None, s) for f, s in zip(first, stride, strict=True))
        part, places = (
            t[:, :, taps[0], taps[1]].flip(2, 3).transpose(0, 1).contiguous() for t in (mask, source)
        )
        start = [
            (a + p - f) // s - (size - 1)
            for a, p, f, s, size in zip(at, padding, first, stride, part.shape[2:], strict=True)
        ]
        phases.append(Phase(_lists(part, places), (part.shape[2], part.shape[3]), (start[0], start[1])))
    return Pattern(_lists(mask, source), tuple(phases))


def _lists(mask: Tensor, source: Tensor) -> Lists:
    rows = mask.flatten(1)
    begin = torch.zeros(len(rows) + 1, dtype=torch.int32)
    torch.cumsum(rows.sum(1), 0, out=begin[1:])
    active = rows.flatten().nonzero().flatten()
    place = active.remainder(max(1, rows.shape[1]))
    return Lists(begin, place.int(), source.flatten()[active])
