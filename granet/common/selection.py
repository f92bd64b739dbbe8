"""The k highest of many numbers, exactly, without sorting them.

On the CPU a sample brackets the k-th highest: what lies above is in, what lies below is out, and only the few numbers
between are put in order. NumPy compares several times as fast as torch there. On other devices numbers are sorted,
which they are good at, and the host never waits. Both give the same.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from granet.common.memory import axes

SAMPLE = 1 << 14
"""Numbers that bracket a threshold."""
DEVIATIONS = 4.0
"""Half the bracket's width, in standard deviations of a rank in the sample; where it misses, all are put in order."""


class _Split(NamedTuple):
    """The candidates of one tensor, in the order of its memory."""

    above: np.ndarray
    """Bool: higher than the bracket."""
    place: np.ndarray
    """Where those within the bracket are."""
    score: np.ndarray
    """Their scores."""


def highest(scores: Tensor, candidates: Tensor, k: int) -> Tensor:
    """Mask of the ``k`` highest-scoring of the ``candidates`` (bool, the shape of ``scores``), at most all of them.

    Ties go to the lower index, and NaN counts as -inf. The mask lies in memory as ``scores`` do.
    """
    if scores.device.type == "cpu":
        k = min(k, int(np.count_nonzero(candidates.numpy())))
    if k == 0:
        return torch.zeros_like(candidates)
    if scores.device.type != "cpu":
        return _highest_sorted(scores, candidates, k)
    (split,), missing, threshold = _split([scores], [candidates], k)
    mask, place = split.above, split.place
    order = axes(scores)
    mask[place[split.score > threshold]] = True
    ties = place[split.score == threshold]
    missing -= np.count_nonzero(split.score > threshold)
    if missing < len(ties) and order != sorted(order):
        ties = ties[np.argsort(_index(ties, scores, order))]
    mask[ties[:missing]] = True
    back = sorted(range(len(order)), key=order.__getitem__)
    return torch.from_numpy(mask).view([scores.shape[axis] for axis in order]).permute(back)


def num_highest(scores: Sequence[Tensor], candidates: Sequence[Tensor], k: int) -> list[int]:
    """How many of the ``k`` highest-scoring candidates of all tensors together lie in each; ties go to the first ones.

    ``k`` is at least 1, and at most the number of candidates.
    """
    if scores[0].device.type != "cpu":
        above, ties = _num_sorted(scores, candidates, k)
    else:
        splits, _, threshold = _split(scores, candidates, k)
        above = [np.count_nonzero(s.above) + np.count_nonzero(s.score > threshold) for s in splits]
        ties = [np.count_nonzero(s.score == threshold) for s in splits]
    counts, left = [], k - sum(above)
    for more, equal in zip(above, ties, strict=True):
        counts.append(more + min(equal, left))
        left -= min(equal, left)
    return counts


def _split(scores: Sequence[Tensor], candidates: Sequence[Tensor], k: int) -> tuple[list[_Split], int, float]:
    """Candidates by a bracket around the k-th highest: the parts, how many of those within are in, the k-th score."""
    orders = [axes(score) for score in scores]
    values = [_numbers(score, order) for score, order in zip(scores, orders, strict=True)]
    chosen = [_numbers(mask, order) for mask, order in zip(candidates, orders, strict=True)]
    low, high = _bracket(values, chosen, k)
    splits = [_within(x, mask, low, high) for x, mask in zip(values, chosen, strict=True)]
    missing = k - sum(int(np.count_nonzero(split.above)) for split in splits)
    if (
        not 0 < missing <= sum(len(split.place) for split in splits)
    ):  # the bracket has missed it, or NaN is in the way
        splits = [_within(x, mask, -math.inf, math.inf) for x, mask in zip(values, chosen, strict=True)]
        missing = k
    pooled = np.concatenate([split.score for split in splits])
    place = max(0, len(pooled) - missing)
    return splits, missing, np.partition(pooled, place)[place]


def _numbers(tensor: Tensor, order: list[int]) -> np.ndarray:
    """A flat array, axes in ``order``; of the tensor's own memory where they lie so."""
    if tensor.dtype in (torch.bfloat16, torch.float16):
        tensor = tensor.float()
    return tensor.detach().permute(order).flatten().numpy()


def _bracket(values: list[np.ndarray], chosen: list[np.ndarray], k: int) -> tuple[float, float]:
    """Two numbers between which the k-th highest candidate lies, all but certainly."""
    total = sum(map(len, values))
    stride = total // SAMPLE
    if stride < 2:
        return -math.inf, math.inf
    while math.gcd(stride, 6) > 1:  # in step with neither the taps of a kernel nor powers of two
        stride += 1
    parts = zip(values, chosen, strict=True)
    sample = np.concatenate([np.where(mask[::stride], x[::stride], -math.inf) for x, mask in parts])
    rank, share = len(sample) * (1 - k / total), k / total
    margin = DEVIATIONS * math.sqrt(len(sample) * share * (1 - share)) + 1
    places = [math.floor(rank - margin), math.ceil(rank + margin)]
    ordered = np.partition(sample, [min(max(place, 0), len(sample) - 1) for place in places])
    low = ordered[places[0]] if places[0] >= 0 else -math.inf
    return low, ordered[places[1]] if places[1] < len(sample) else math.inf


def _within(x: np.ndarray, mask: np.ndarray, low: float, high: float) -> _Split:
    above = x > high
    above &= mask
    if low == -math.inf:  # NaN is not above it, and yet a candidate
        place = np.flatnonzero(mask & ~above)
        return _Split(above, place, np.where(np.isnan(x[place]), -math.inf, x[place]))
    within = x >= low
    within &= mask
    within ^= above
    place = np.flatnonzero(within)
    return _Split(above, place, x[place])


def _index(place: np.ndarray, scores: Tensor, order: list[int]) -> np.ndarray:
    """The indices, as of the flattened tensor, of places in its memory."""
    indices = np.unravel_index(place, [scores.shape[axis] for axis in order])
    by_axis = dict(zip(order, indices, strict=True))
    return np.ravel_multi_index([by_axis[axis] for axis in sorted(order)], scores.shape)


def _keys(scores: Tensor, candidates: Tensor) -> Tensor:
    """Scores that can be compared, -inf where there is no candidate."""
    return torch.where(candidates & ~scores.isnan(), scores, -math.inf)


def _highest_sorted(scores: Tensor, candidates: Tensor, k: int) -> Tensor:
    keys = _keys(scores, candidates)
    ordered = keys.flatten().sort(descending=True).values
    threshold = ordered[min(k, len(ordered)) - 1]
    above = candidates & (keys > threshold)
    ties = candidates & (keys == threshold)
    return above | (ties & (ties.flatten().cumsum(0).view_as(ties) <= k - above.sum()))


def _num_sorted(
    scores: Sequence[Tensor], candidates: Sequence[Tensor], k: int
) -> tuple[list[int], list[int]]:
    """By tensor: candidates above the k-th highest score, and at it. One question to the device."""
    keys = [_keys(*pair) for pair in zip(scores, candidates, strict=True)]
    threshold = torch.cat([key.flatten() for key in keys]).sort(descending=True).values[k - 1]
    pairs = [(key > threshold, mask & (key == threshold)) for key, mask in zip(keys, candidates, strict=True)]
    above, ties = torch.stack([torch.stack([mask.sum() for mask in pair]) for pair in pairs]).T.tolist()
    return above, ties
