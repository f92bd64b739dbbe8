"""What a method is: a value with four axes and a clock. Time is counted in optimizer steps.

The rows are in `granet.methods`. What depends on the length of the run is worked out by `granet.clock`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from granet.common.steps import last_multiple
from granet.criteria import Criterion, magnitude
from granet.distributions import Distribution, Reallocation, global_, preserve
from granet.drops import Drop
from granet.granularity import ELEMENT, Granularity
from granet.langevin import Langevin
from granet.reparam import Reparam
from granet.schedules import cubic
from granet.types import Given, Masks, Schedule, UserError

Init = Callable[[Given], Masks]
"""What is there before step 1 -> the masks of step 0."""
Curve = Callable[[float, float, int, int], Schedule]
"""(si, sf, t0, tf) -> sparsity by step: `schedules.cubic`, `schedules.geometric`."""
Family = Literal["dense", "before_training", "sparse_to_sparse", "dense_to_sparse", "after_training"]


@dataclass(frozen=True)
class Prune:
    """Gradual pruning: sparsity si at t0 to sf at the last update not after tf.

    ``tf`` None: ``auto``, a share of the run. ``until`` "end": the weights are ranked anew at every update to the end
    of training, at sf (only where masked weights keep their values does that change anything).
    """

    si: float
    sf: float
    t0: int
    tf: int | None
    auto: float
    distribution: Distribution = global_
    criterion: Criterion = magnitude
    curve: Curve = cubic
    until: Literal["tf", "end"] = "tf"

    def span(self, total_steps: int, update_interval: int) -> tuple[int, int]:
        """First and last step of rising sparsity. Raises UserError where no update falls between them."""
        tf = round(self.auto * total_steps) if self.tf is None else self.tf
        if tf > total_steps:
            raise UserError(f"tf={tf} steps lies beyond the end of training ({total_steps} steps); lower tf")
        end = last_multiple(tf, update_interval)
        if end <= self.t0:
            raise UserError(
                f"update_interval={update_interval}: no mask update falls between t0={self.t0} and tf={tf} "
                f"(steps, of {total_steps}); lower update_interval or train longer"
            )
        return self.t0, end


@dataclass(frozen=True)
class Regenerate:
    """Drop some active weights and grow as many inactive ones; the fraction falls as a cosine.

    ``until``: "end" of training, "tf" (with pruning), or a share of the run, over which the cosine falls then.
    ``reallocate`` says how many of the dropped weights each tensor gets back.
    """

    drop: Drop
    grow: Criterion
    initial: float = 1.0
    final: float = 1.0
    until: Literal["end", "tf"] | float = "end"
    reallocate: Reallocation = preserve


@dataclass(frozen=True)
class Method:
    """A sparse-training method. ``None`` in a field: the method has no such phase."""

    family: Family
    init: Init | None = None  # None: no masks at all (dense)
    update_interval: int | None = None  # optimizer steps between mask updates
    prune: Prune | None = None
    regenerate: Regenerate | None = None
    granularity: Granularity = ELEMENT
    dense_gradient: bool = False
    """Every step needs the gradient of all weights: it costs FLOPs, and momentum stays dense."""
    reparam: Reparam | None = None
    """How the forward sees a weight. Then masked weights keep their values, and may come back."""
    langevin: Langevin | None = None
    """A pull and noise on the active weights after every optimizer step."""
    rounds: int = 1
    """How often the training schedule is run; a mask update falls between two rounds."""
    restart: Literal["weights", "lr"] | None = None
    """What a round starts from: the run's initial weights, or the last round's (only the learning rate restarts)."""

    def __post_init__(self) -> None:
        if self.update_interval is not None and self.update_interval < 1:
            raise UserError(f"update_interval={self.update_interval} must be at least 1 optimizer step")
        if self.prune is not None:
            cubic(self.prune.si, self.prune.sf, 0, 1)  # raises on impossible sparsities
        if (phase := self.regenerate) is not None:
            for key, value in (("drop_fraction", phase.initial), ("drop_fraction_final", phase.final)):
                if not 0 <= value <= 1:
                    raise UserError(
                        f"{key}={value} must lie in [0, 1]: it is a fraction of a layer's active weights"
                    )
            until = phase.until
            if not (0 < until <= 1 if isinstance(until, float) else until in ("end", "tf")):
                raise UserError(
                    f"regenerate_until={until!r} must be 'end', 'tf' or a share of the run in (0, 1]"
                )
        if self.restart not in (None, "weights", "lr"):
            raise UserError(f"rewind={self.restart!r} must be 'weights' or 'lr'")
