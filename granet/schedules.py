"""Schedules: pure functions of the optimizer step. None of them holds a counter."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from granet.types import Schedule, UserError


@dataclass(frozen=True)
class Original:
    """The learning rates of a training: ``lr`` for ``steps`` optimizer steps, of which ``warmup`` are its warm-up."""

    lr: Schedule
    steps: int
    warmup: int = 0

    @cached_property
    def highest(self) -> float:
        """The highest learning rate of all steps."""
        return max(map(self.lr, range(self.steps)))

    @cached_property
    def lowest(self) -> float:
        """The lowest after the warm-up."""
        return min(map(self.lr, range(min(self.warmup, self.steps - 1), self.steps)))


def constant(value: float) -> Schedule:
    """The same value at every step."""
    return lambda step: value


def cubic(si: float, sf: float, t0: int, tf: int) -> Schedule:
    """Sparsity of gradual pruning, Eq. 1 of GraNet (after Zhu & Gupta 2017), with t in optimizer steps.

    s_t = sf + (si - sf) (1 - (t - t0) / (tf - t0))^3 for t0 <= t <= tf; si before, exactly sf from tf on.

    Raises UserError unless 0 <= si <= sf < 1 and 0 <= t0 < tf.

    >>> s = cubic(0.0, 0.9, 0, 100)
    >>> [round(s(t), 4) for t in (0, 50, 100, 101)]
    [0.0, 0.7875, 0.9, 0.9]
    """
    if not 0 <= sf < 1:
        raise UserError(f"sf={sf} must lie in [0, 1): it is the final sparsity, a fraction")
    if not 0 <= si <= sf:
        raise UserError(
            f"si={si} must lie in [0, sf={sf}]: pruning only raises the sparsity; lower si or raise sf"
        )
    if not 0 <= t0 < tf:
        raise UserError(f"t0={t0}, tf={tf} (steps) must satisfy 0 <= t0 < tf; move tf later or t0 earlier")

    def sparsity(step: int) -> float:
        if step >= tf:
            return sf
        return sf + (si - sf) * (1 - max(step - t0, 0) / (tf - t0)) ** 3

    return sparsity


def geometric(si: float, sf: float, t0: int, tf: int) -> Schedule:
    """Density falls by the same factor per step: 1 - s_t = (1 - si) ((1 - sf) / (1 - si))^((t - t0) / (tf - t0)).

    What iterative magnitude pruning follows (a fixed share per round), and SynFlow (exponential rounds).

    >>> s = geometric(0.0, 0.99, 0, 2)
    >>> [round(s(t), 4) for t in (0, 1, 2, 3)]
    [0.0, 0.9, 0.99, 0.99]
    """

    def sparsity(step: int) -> float:
        if step >= tf:
            return sf
        return 1 - (1 - si) * ((1 - sf) / (1 - si)) ** (max(step - t0, 0) / (tf - t0))

    return sparsity


def cosine(initial: float, final: float, total_steps: int) -> Schedule:
    """Half a cosine from ``initial`` at step 0 to ``final`` at ``total_steps``; ``final`` afterwards.

    >>> r = cosine(0.5, 0.0, 100)
    >>> [round(r(t), 4) for t in (0, 50, 100)]
    [0.5, 0.25, 0.0]
    """

    def value(step: int) -> float:
        progress = min(step / total_steps, 1.0)
        return final + (initial - final) * (1 + math.cos(math.pi * progress)) / 2

    return value


def linear(initial: float, final: float, total_steps: int) -> Schedule:
    """A straight line from ``initial`` at step 0 to ``final`` at ``total_steps``; ``final`` afterwards.

    >>> lr = linear(0.1, 0.02, 4)
    >>> [round(lr(t), 4) for t in (0, 1, 4, 5)]
    [0.1, 0.08, 0.02, 0.02]
    """
    return lambda step: initial + (final - initial) * min(step / total_steps, 1.0)


def one_cycle(peak: float, final: float, num_rising: int, total_steps: int) -> Schedule:
    """Half a cosine up from ``peak`` / 25 over ``num_rising`` steps, one down to ``final`` at the last step.

    1cycle (Smith & Topin 2019) in the two phases of torch's OneCycleLR.

    >>> lr = one_cycle(0.1, 0.0, 3, 7)
    >>> [round(lr(t), 4) for t in (0, 1, 2, 4, 6)]
    [0.004, 0.052, 0.1, 0.05, 0.0]
    """
    top = max(num_rising - 1, 0)
    rise, fall = cosine(peak / 25, peak, max(top, 1)), cosine(peak, final, max(total_steps - 1 - top, 1))
    return lambda step: rise(step) if step < top else fall(step - top)


def warmed_up(schedule: Schedule, num_steps: int) -> Schedule:
    """``schedule``, reached linearly over the first ``num_steps`` steps (Goyal et al. 2017).

    >>> lr = warmed_up(constant(0.1), 4)
    >>> [round(lr(t), 4) for t in (0, 1, 3, 4)]
    [0.025, 0.05, 0.1, 0.1]
    """
    return lambda step: schedule(step) * min(1.0, (step + 1) / max(num_steps, 1))


def piecewise(initial: float, drop_steps: Sequence[int], factor: float) -> Schedule:
    """``initial``, multiplied by ``factor`` from each of ``drop_steps`` on: the paper's learning rate.

    >>> lr = piecewise(0.1, [80, 120], 0.1)
    >>> [round(lr(t), 4) for t in (0, 79, 80, 120)]
    [0.1, 0.1, 0.01, 0.001]
    """
    return lambda step: initial * factor ** sum(step >= drop for drop in drop_steps)


def stairs(initial: float, final: float, t0: int, tf: int) -> Schedule:
    """``initial``, the mean of both from three quarters of the way from ``t0`` to ``tf`` on, ``final`` from ``tf`` on.

    How MEST (Yuan et al. 2021) mutates less and less, in its released code at epochs 90 and 120 of 160.

    >>> s = stairs(0.2, 0.0, 0, 120)
    >>> [s(t) for t in (0, 89, 90, 119, 120)]
    [0.2, 0.2, 0.1, 0.1, 0.0]
    """

    def value(step: int) -> float:
        if step >= tf:
            return final
        return (initial + final) / 2 if 4 * (step - t0) >= 3 * (tf - t0) else initial

    return value


def jump(si: float, sf: float, t0: int, tf: int) -> Schedule:
    """0 before ``t0`` and at step 0; from ``t0`` on `cubic`, which begins with all of ``si`` at once (GMP*).

    >>> s = jump(0.7, 0.9, 10, 110)
    >>> [round(s(t), 4) for t in (0, 9, 10, 60, 110)]
    [0.0, 0.0, 0.7, 0.875, 0.9]
    """
    rising = cubic(si, sf, t0, tf)
    return lambda step: rising(step) if step >= max(t0, 1) else 0.0


def alternating(phase: int, num_last_dense: int) -> Callable[[float, float, int, int], Schedule]:
    """Sparsities ``si`` and ``sf`` by turns, each for ``phase`` steps (AC/DC, Peste et al. 2021, Algorithm 1).

    The curve is ``si`` until ``t0``, rounded up to a multiple of ``phase``, and for one phase at least, as no update
    comes before; then ``sf`` comes first. During the last ``num_last_dense`` phases before ``tf`` it is ``si``, and
    from ``tf`` on ``sf``.

    >>> s = alternating(5, 2)(0.0, 0.9, 10, 35)
    >>> [s(t) for t in (0, 5, 10, 15, 20, 25, 30, 35, 40)]
    [0.0, 0.0, 0.9, 0.0, 0.9, 0.0, 0.0, 0.9, 0.9]
    """

    def curve(si: float, sf: float, t0: int, tf: int) -> Schedule:
        first = max(1, math.ceil(t0 / phase))

        def sparsity(step: int) -> float:
            number = step // phase
            is_between = first <= number and step < tf - num_last_dense * phase
            return sf if step >= tf or (is_between and (number - first) % 2 == 0) else si

        return sparsity

    return curve
