"""Learning rates of retraining on a budget, made of those of the training before (Zimmer et al. 2023, Section 3).

Each takes that training, the steps of the retraining, and what pruning took, d in [0, 1]. SLR, CLR, LLR and ALLR rise
along half a cosine for a tenth of the steps, as the paper's released code has it, from 0 and so without a first step.
"""

import math
from collections.abc import Callable

from granet.method import Retraining
from granet.schedules import Original, Schedule, constant

WARM_UP = 0.1
"""The share of the retraining over which the learning rate rises."""


def ft(original: Original, steps: int, damage: float) -> Schedule:
    """FT, fine-tuning (Han et al. 2015): the last, lowest learning rate of the training, throughout."""
    return constant(original.lowest)


def lrw(original: Original, steps: int, damage: float) -> Schedule:
    """LRW, learning-rate rewinding (Renda et al. 2020): the training's last ``steps``; before its start, the first."""
    return lambda step: original.lr(max(0, original.steps - steps + step))


def slr(original: Original, steps: int, damage: float) -> Schedule:
    """SLR, scaled restarting (Le & Hua 2021): the whole training's, squeezed; its warm-up stands for the highest.

    >>> original = Original(lambda step: 0.1 if step < 50 else 0.01, 100)
    >>> [round(slr(original, 20, 0.5)(step), 3) for step in (0, 1, 2, 10, 11, 19)]
    [0.0, 0.05, 0.1, 0.1, 0.01, 0.01]
    """

    def squeezed(place: float) -> float:
        step = int(place * original.steps)
        return original.highest if step < original.warmup else original.lr(step)

    return _risen(original.highest, squeezed, steps)


def clr(original: Original, steps: int, damage: float) -> Schedule:
    """CLR, cyclic restarting (Le & Hua 2021): half a cosine from the highest learning rate to the lowest."""
    high, low = original.highest, original.lowest
    return _risen(high, lambda place: low + (high - low) * (1 + math.cos(math.pi * place)) / 2, steps)


def llr(original: Original, steps: int, damage: float) -> Schedule:
    """LLR: linearly from the highest learning rate to 0.

    >>> [round(llr(Original(constant(0.1), 100), 20, 0.5)(step), 3) for step in (0, 1, 2, 11, 19)]
    [0.0, 0.05, 0.1, 0.05, 0.006]
    """
    return _linear(original.highest, steps)


def allr(original: Original, steps: int, damage: float) -> Schedule:
    """ALLR: LLR from max(d, T_rt / T) of the highest, T_rt steps after T of training: less where little was lost.

    d and T_rt are of the round at hand, as in the released code; both are cut at 1.
    """
    share = max(damage, steps / original.steps)
    return _linear(min(1.0, share) * original.highest, steps)


def _linear(high: float, steps: int) -> Schedule:
    return _risen(high, lambda place: high * (1 - place), steps)


def _risen(high: float, falling: Callable[[float], float], steps: int) -> Schedule:
    """Up to ``high`` over the warm-up, then ``falling`` of the share of what is left that is over, in [0, 1)."""
    rise = int(WARM_UP * steps)

    def lr(step: int) -> float:
        if step < rise:
            return high * (1 - math.cos(math.pi * step / rise)) / 2
        return falling((step - rise) / (steps - rise))

    return lr


SCHEDULES: dict[str, Retraining] = {"ft": ft, "lrw": lrw, "slr": slr, "clr": clr, "llr": llr, "allr": allr}
