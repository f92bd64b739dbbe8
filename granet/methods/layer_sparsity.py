"""Sparsities that single layers are given, whatever the method: the others make up for them.

The whole network has the method's sparsity all the same. While that rises, a given one rises with it, in proportion.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from itertools import accumulate
from math import prod
from typing import Any

from granet.common.keys import Key
from granet.distributions import (
    ByLayer,
    Distribution,
    LayerSparsity,
    budget,
    classifier,
    preserve,
    uniform_capped,
)
from granet.drops import DownTo
from granet.inits.random import Highest, Random, everything
from granet.masks import num_active
from granet.method import Method
from granet.methods.dense_layers import DistributionSparing, RuleSparing
from granet.types import Counts, Masks, Shapes, Tensors, UserError

Given = dict[str, float]
"""Weight -> its final sparsity."""


def with_layer_sparsity(method: Method, wanted: Mapping[str, float]) -> Method:
    """The method, but the layers that ``wanted`` names (weights, modules or patterns of both) get its sparsities.

    Where patterns overlap, the last one counts; dense training has no use for them. Raises UserError for a method that
    has no final sparsity or moves weights among layers.
    """
    if not wanted or method.init is None:
        return method
    final = _final(method)
    moves = method.channels is not None or (
        method.regenerate and method.regenerate.reallocate is not preserve
    )
    if final is None or moves or not (isinstance(method.init, Random | Highest) or method.init is everything):
        raise UserError(
            "layer_sparsity: this method decides by itself how many weights each layer has; leave it out"
        )
    init, prune = method.init, method.prune
    if isinstance(init, Random):
        init = replace(init, rule=_Rule(init.rule, wanted, final))
    elif isinstance(init, Highest):
        init = replace(init, distribution=_distribution(init.distribution, wanted, final))
    if prune is not None:
        prune = replace(prune, distribution=_distribution(prune.distribution, wanted, final))
    regenerate = method.regenerate
    if regenerate is not None and isinstance(count := regenerate.drop.count, DownTo):
        count = replace(count, distribution=_distribution(count.distribution, wanted, final))
        regenerate = replace(regenerate, drop=replace(regenerate.drop, count=count))
    return replace(method, init=init, prune=prune, regenerate=regenerate)


def check_layer_sparsity(method: Method, wanted: Mapping[str, float], shapes: Shapes) -> None:
    """Raise UserError for a name that is none, a sparsity out of range, and what the others cannot make up for."""
    if wanted:
        final = _final(method) or 0.0
        _rest(_resolved(wanted, shapes), shapes, final, final)


def _final(method: Method) -> float | None:
    return method.prune.sf if method.prune else getattr(method.init, "sparsity", None)


def _resolved(wanted: Mapping[str, float], shapes: Shapes) -> Given:
    given: Given = {}
    for pattern, sparsity in wanted.items():
        Key("of a layer's weights", at_least=0, at_most=1).check(f"layer_sparsity[{pattern!r}]", sparsity)
        names = [
            n for n in shapes if any(fnmatchcase(part, pattern) for part in accumulate(n.split("."), _dotted))
        ]
        if not names:
            raise UserError(
                f"layer_sparsity: {pattern!r} names no masked weight; their names are like {next(iter(shapes))}"
            )
        given |= dict.fromkeys(names, sparsity)
    return given


def _dotted(path: str, part: str) -> str:
    return f"{path}.{part}"


def _rest(given: Given, shapes: Shapes, sparsity: float, final: float) -> tuple[Given, float]:
    """At ``sparsity`` of the whole network: that of the layers that are given one, and that of all others together."""
    here = {name: given[name] * (sparsity / final if final else 0.0) for name in shapes if name in given}
    sizes = {name: prod(shape) for name, shape in shapes.items()}
    held = sum((1 - share) * sizes[name] for name, share in here.items())
    room = sum(sizes.values()) - sum(sizes[name] for name in here)
    left = (1 - sparsity) * sum(sizes.values()) - held
    if not -0.5 <= left <= room + 0.5:
        nearest = 1 - (held + (room if left > 0 else 0)) / sum(sizes.values())
        raise UserError(
            f"layer_sparsity: of the {held + left:.0f} weights that stay at sparsity {sparsity:g} the layers that it "
            f"names keep {held:.0f}, and all others have {room}; with these layers the nearest sparsity is "
            f"{nearest:.6g}"
        )
    return here, 1 - min(max(left / room, 0.0), 1.0) if room else 1.0


@dataclass(frozen=True)
class _Rule:
    """Layer sparsities by ``rule``, but those of the layers that are given one."""

    rule: LayerSparsity
    wanted: Mapping[str, float]
    final: float

    def __call__(self, shapes: Shapes, sparsity: float) -> dict[str, float]:
        here, others = _rest(_resolved(self.wanted, shapes), shapes, sparsity, self.final)
        rest = {name: shape for name, shape in shapes.items() if name not in here}
        rule = _among(shapes, self.rule)
        layers = here | (rule(rest, others) if 0 <= others < 1 else dict.fromkeys(rest, others))
        return {name: layers[name] for name in shapes}


def _distribution(distribution: Distribution, wanted: Mapping[str, float], final: float) -> Distribution:
    def counts(scores: Tensors, masks: Masks, sparsity: float) -> Counts:
        shapes = {name: tuple(mask.shape) for name, mask in masks.items()}
        here, _ = _rest(_resolved(wanted, shapes), shapes, sparsity, final)
        active = num_active({name: masks[name] for name in here})
        kept = {name: min(active[name], round((1 - s) * prod(shapes[name]))) for name, s in here.items()}
        rest = {name: mask for name, mask in masks.items() if name not in here}
        if rest:
            left = budget(shapes, sparsity) - sum(kept.values())
            others = 1 - left / sum(mask.numel() for mask in rest.values())
            ranks = {name: score for name, score in scores.items() if name in rest}
            kept |= _among(shapes, distribution)(ranks, rest, max(0.0, others))
        return {name: kept[name] for name in masks}

    return counts


def _among(shapes: Shapes, part: Any) -> Any:
    """A rule or distribution that sees some of ``shapes`` alone: its dense layers, or classifier, are those of all."""
    if isinstance(part, ByLayer):
        return replace(part, rule=_among(shapes, part.rule))
    if part is uniform_capped:
        return partial(uniform_capped, last=classifier(shapes))
    if isinstance(part, RuleSparing | DistributionSparing):
        names, within = part.dense(shapes), "rule" if isinstance(part, RuleSparing) else "distribution"
        inner = {within: _among(shapes, getattr(part, within))}
        return replace(part, dense=lambda rest: names & rest.keys(), **inner)
    return part
