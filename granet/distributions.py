"""Distributions: how many weights stay active in each tensor. Global versus layer-wise is nothing else.

Two layers of functions: layer sparsities of ``shapes`` (`uniform`, `er`, `erk`), and `Distribution`s, which
also see scores and masks (`global_`, `by_layer`) and give whole numbers that add up exactly.
"""

import math
from collections.abc import Callable, Set
from dataclasses import dataclass
from math import prod

from granet.common.selection import num_highest
from granet.criteria import momentum
from granet.masks import num_active
from granet.types import Counts, Masks, Shapes, Snapshot, Tensors, UserError

LayerSparsity = Callable[[Shapes, float], dict[str, float]]
Distribution = Callable[[Tensors, Masks, float], Counts]
CLASSIFIER_CAP = 0.8
"""The highest sparsity of the classifier where all layers are pruned alike."""


def uniform(shapes: Shapes, sparsity: float) -> dict[str, float]:
    """The same sparsity everywhere."""
    return dict.fromkeys(shapes, sparsity)


def er(shapes: Shapes, sparsity: float) -> dict[str, float]:
    """Erdos-Renyi (SET, Mocanu et al. 2018): density ~ (n_in + n_out) / (n_in n_out); kernels left out."""
    return _scaled(shapes, sparsity, {name: sum(s[:2]) / prod(s[:2]) for name, s in shapes.items()})


def erk(shapes: Shapes, sparsity: float) -> dict[str, float]:
    """Erdos-Renyi-Kernel (RigL, Evci et al. 2020): density ~ sum(shape) / prod(shape), kernel included, power 1.

    Where the scaled density of a tensor would exceed 1, the tensor stays dense and the others share the
    rest, so that the sparsity over all weights is the one asked for.

    >>> erk({"big": (100, 100), "small": (10, 10)}, 0.8)["small"]
    0.0
    """
    return _scaled(shapes, sparsity, {name: sum(s) / prod(s) for name, s in shapes.items()})


def _scaled(shapes: Shapes, sparsity: float, raw: dict[str, float]) -> dict[str, float]:
    """Layer sparsities 1 - eps * raw, with eps such that the overall sparsity is met and no density exceeds 1."""
    if not 0 <= sparsity < 1:
        raise UserError(f"sparsity={sparsity} must lie in [0, 1): it is a fraction")
    size = {name: prod(shape) for name, shape in shapes.items()}
    budget = (1 - sparsity) * sum(size.values())
    dense: set[str] = set()
    while True:
        rest = [name for name in shapes if name not in dense]
        left = budget - sum(size[name] for name in dense)
        eps = left / sum(raw[name] * size[name] for name in rest) if rest else 0.0
        # One at a time, the worst first: a batch could make a tensor dense that would have fitted afterwards.
        over = max(rest, key=lambda name: raw[name], default=None)
        if over is None or eps * raw[over] <= 1:
            break
        dense |= {name for name in rest if raw[name] == raw[over]}
    return {name: 0.0 if name in dense else 1 - eps * raw[name] for name in shapes}


def allocate(layer_sparsities: dict[str, float], limits: Counts, shapes: Shapes, total: int) -> Counts:
    """Whole numbers of active weights that follow ``layer_sparsities`` and add up to exactly ``total``.

    Every tensor gets the floor of its share, at most ``limits[name]``; what is left goes one by one to the
    tensors with the largest remainders that have room (ties: by name). A ``total`` beyond all limits is cut to them.

    >>> allocate({"a": 0.5, "b": 0.5}, {"a": 3, "b": 5}, {"a": (3,), "b": (5,)}, 4)
    {'a': 2, 'b': 2}
    """
    total = min(total, sum(limits.values()))
    wanted = {name: (1 - layer_sparsities[name]) * prod(shape) for name, shape in shapes.items()}
    # Shares are sums of floats: a billionth decides neither a floor nor, by the order of the layers, a tie.
    counts = {name: min(math.floor(share + 1e-9), limits[name]) for name, share in wanted.items()}
    by_remainder = sorted(shapes, key=lambda name: (round(counts[name] - wanted[name], 6), name))
    while (left := total - sum(counts.values())) > 0:
        for name in [name for name in by_remainder if counts[name] < limits[name]][:left]:
            counts[name] += 1
    return counts


def budget(shapes: Shapes, sparsity: float) -> int:
    """Active weights of the whole network at ``sparsity``: round((1 - s) N)."""
    return round((1 - sparsity) * sum(prod(shape) for shape in shapes.values()))


def classifier(shapes: Shapes) -> set[str]:
    """The last linear layer; empty where there is none.

    >>> classifier({"conv": (8, 3, 3, 3), "fc": (10, 8)})
    {'fc'}
    """
    return set([name for name, shape in shapes.items() if len(shape) == 2][-1:])


def uniform_capped(shapes: Shapes, sparsity: float, last: Set[str] | None = None) -> dict[str, float]:
    """The same sparsity everywhere, but the classifier never above 0.8 (Gale et al. 2019).

    The other layers make up for it, so that the whole network is at ``sparsity``, as in GraNet's released code. Where
    the classifier's 0.2 would be more than half of the weights that stay, all layers are alike: else the others would
    have next to nothing left. ``last``: the classifier's names, where these shapes are not the whole network's.

    >>> uniform_capped({"conv": (8, 3, 5, 5), "fc": (10, 8)}, 0.9)
    {'conv': 0.9133333333333333, 'fc': 0.8}
    """
    size = {name: prod(shape) for name, shape in shapes.items()}
    capped = (classifier(shapes) if last is None else last) & shapes.keys()
    size_capped = sum(size[name] for name in capped)
    total, most = (1 - sparsity) * sum(size.values()), (1 - CLASSIFIER_CAP) * size_capped
    if sparsity <= CLASSIFIER_CAP or 2 * most > total:
        return uniform(shapes, sparsity)
    others = 1 - (total - most) / (sum(size.values()) - size_capped)
    return {name: CLASSIFIER_CAP if name in capped else others for name in shapes}


@dataclass(frozen=True)
class ByLayer:
    """A layer-wise rule as a distribution: of each tensor its share, at most what is active, and (1 - s) N in all."""

    rule: LayerSparsity

    def __call__(self, scores: Tensors, masks: Masks, sparsity: float) -> Counts:
        """How many weights of each tensor stay."""
        shapes = {name: tuple(mask.shape) for name, mask in masks.items()}
        return allocate(self.rule(shapes, sparsity), num_active(masks), shapes, budget(shapes, sparsity))


by_layer = ByLayer


def global_(scores: Tensors, masks: Masks, sparsity: float) -> Counts:
    """One threshold over all tensors: the k = round((1 - s) N) highest-scoring active weights stay.

    Ties at the threshold stay in the order of names, then of the index: deterministic, whatever the dict's order.
    Raises UserError for tensors of several devices.
    """
    shapes = {name: tuple(mask.shape) for name, mask in masks.items()}
    if len(devices := {str(score.device) for score in scores.values()}) > 1:
        raise UserError(
            f"distribution: global compares the scores of all layers, and these lie on {', '.join(sorted(devices))}; "
            "choose a layer-wise one (uniform, erk), or keep the masked weights on one device"
        )
    k = min(budget(shapes, sparsity), sum(num_active(masks).values()))
    if k == 0:
        return dict.fromkeys(masks, 0)
    names = sorted(masks)
    counts = num_highest([scores[name] for name in names], [masks[name] for name in names], k)
    return dict(zip(names, counts, strict=True))


def share_out(weights: dict[str, float], limits: Counts, total: int) -> Counts:
    """Whole numbers in proportion to ``weights``, each at most ``limits[name]``, that add up to ``total``.

    What does not fit into a tensor goes to the others in proportion; the last ones go by remainder (ties: by name).
    A ``total`` beyond all limits is cut to them.

    >>> share_out({"a": 1.0, "b": 3.0}, {"a": 9, "b": 4}, 8)
    {'a': 4, 'b': 4}
    """
    counts = dict.fromkeys(limits, 0)
    total = min(total, sum(limits.values()))
    while (left := total - sum(counts.values())) > 0:
        room = {name: limit - counts[name] for name, limit in limits.items() if counts[name] < limit}
        scale = sum(weights[name] for name in room)
        shares = {name: left * (weights[name] / scale if scale > 0 else 1 / len(room)) for name in room}
        parts = {name: min(math.floor(share + 1e-9), room[name]) for name, share in shares.items()}
        if not any(parts.values()):
            first = sorted(room, key=lambda name: (-round(shares[name], 9), name))[:left]
            parts = dict.fromkeys(first, 1)
        for name, count in parts.items():
            counts[name] += count
    return counts


Reallocation = Callable[[Snapshot, Masks, Counts], Counts]
"""(snapshot, masks after the drop, number dropped by tensor) -> number each tensor grows."""


def preserve(snapshot: Snapshot, masks: Masks, num_dropped: Counts) -> Counts:
    """Every tensor grows what it dropped (SET, RigL, GraNet, Deep-R)."""
    return num_dropped


def nowhere(snapshot: Snapshot, masks: Masks, num_dropped: Counts) -> Counts:
    """Nothing grows: what is dropped stays pruned."""
    return dict.fromkeys(num_dropped, 0)


def by_active(snapshot: Snapshot, masks: Masks, num_dropped: Counts) -> Counts:
    """In proportion to the weights that survived the drop (DSR, Mostafa & Wang 2019, Algorithm 1)."""
    active = {name: float(count) for name, count in num_active(masks).items()}
    return share_out(active, _room(masks), sum(num_dropped.values()))


def by_momentum(snapshot: Snapshot, masks: Masks, num_dropped: Counts) -> Counts:
    """In proportion to the mean |momentum| of the weights that were active before the drop.

    SNFS (Dettmers & Zettlemoyer 2019), whose code gathers these statistics before it prunes. A snapshot without masks:
    of those that survived it.
    """
    size, before = momentum(snapshot), snapshot.masks or masks
    mean = {name: float(size[name][mask].mean()) if mask.any() else 0.0 for name, mask in before.items()}
    return share_out(mean, _room(masks), sum(num_dropped.values()))


def _room(masks: Masks) -> Counts:
    return {name: masks[name].numel() - count for name, count in num_active(masks).items()}


def at_least(distribution: Distribution, floor: int = 1) -> Distribution:
    """``distribution``, but ``floor`` weights of every tensor stay (or all that it has): none is emptied.

    What that takes comes from the largest tensors, so the total is the same. No paper here has such a floor.

    >>> import torch
    >>> masks = {"a": torch.ones(1, 4), "b": torch.ones(1, 8)}
    >>> at_least(lambda *_: {"a": 0, "b": 3})({}, masks, 0.75)
    {'a': 1, 'b': 2}
    """

    def floored(scores: Tensors, masks: Masks, sparsity: float) -> Counts:
        wanted = distribution(scores, masks, sparsity)
        active = num_active(masks)
        counts = {name: max(n, min(floor, active[name])) for name, n in wanted.items()}
        excess = sum(counts.values()) - sum(wanted.values())
        for name in sorted(counts, key=lambda name: counts[name], reverse=True):
            taken = min(excess, max(0, counts[name] - floor))
            counts[name] -= taken
            excess -= taken
        return counts

    return floored
