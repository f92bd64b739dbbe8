"""What a method is: a value with its axes and a clock. Time is counted in optimizer steps.

The rows are in `granet.methods`. What depends on the length of the run is worked out by `granet.sparsifier.clock`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from granet.common.granularity import ELEMENT, Granularity
from granet.common.keys import Key
from granet.common.langevin import Langevin
from granet.common.steps import last_multiple
from granet.criteria import Criterion, magnitude, momentum, over_threshold, sign_flip
from granet.distributions import Distribution, Reallocation, global_, preserve
from granet.drops import Drop
from granet.projection import GRADIENT, Projection, learns_threshold
from granet.schedules import Original, cosine, cubic
from granet.types import Counts, Init, Masks, Schedule, Tensors, UserError
from granet.update import anywhere

Retraining = Callable[[Original, int, float], Schedule]
"""(the schedule of the training before, steps, damage of the pruning in [0, 1]) -> learning rate by step."""
Curve = Callable[[float, float, int, int], Schedule]
"""(si, sf, t0, tf) -> sparsity by step: `schedules.cubic`, `schedules.geometric`."""
Growth = Callable[[Masks, Tensors, Tensors, Counts], Masks]
"""(what a drop has left, drop scores, growth scores, number each tensor grows) -> what is active from then on."""
Family = Literal["dense", "before_training", "sparse_to_sparse", "dense_to_sparse", "after_training"]


@dataclass(frozen=True)
class Prune:
    """Gradual pruning: sparsity si at t0 to sf at the last update not after tf.

    ``tf`` None: ``auto``, a share of the run, and ``t0`` None: ``start``. ``until`` "end": the weights are ranked anew
    at every update to the end of training, at sf (only where masked weights keep their values does that change
    anything).
    """

    si: float
    sf: float
    t0: int | None
    tf: int | None
    auto: float
    distribution: Distribution = global_
    criterion: Criterion = magnitude
    curve: Curve = cubic
    until: Literal["tf", "end"] = "tf"
    start: float = 0.0

    def span(self, total_steps: int, update_interval: int) -> tuple[int, int]:
        """First and last step of rising sparsity. Raises UserError where no update falls between them."""
        t0 = round(self.start * total_steps) if self.t0 is None else self.t0
        tf = round(self.auto * total_steps) if self.tf is None else self.tf
        if tf > total_steps and self.si == self.sf:  # nothing rises: tf is when masks are first chosen anew
            raise UserError(
                f"update_interval={update_interval}: no mask update falls into the {total_steps} steps of the run; "
                "lower update_interval or train longer"
            )
        if tf > total_steps:
            raise UserError(f"tf={tf} steps lies beyond the end of training ({total_steps} steps); lower tf")
        end = last_multiple(tf, update_interval)
        if end <= t0:
            raise UserError(
                f"update_interval={update_interval}: no mask update falls between t0={t0} and tf={tf} "
                f"(steps, of {total_steps}); lower update_interval or train longer"
            )
        return t0, end


@dataclass(frozen=True)
class Regenerate:
    """Drop some active weights and grow as many inactive ones; the fraction falls along a curve, mostly a cosine.

    ``until``: "end" of training, "tf" (with pruning), or a share of the run, over which the curve falls then.
    ``reallocate`` says how many of the dropped weights each tensor gets back. ``doubled_at``: shares of the run, after
    each of which regenerations are twice as far apart (DSR).
    """

    drop: Drop
    grow: Criterion | None
    """What ranks inactive weights; None: nothing, any of them may grow."""
    initial: float = 1.0
    final: float = 1.0
    until: Literal["end", "tf"] | float = "end"
    reallocate: Reallocation = preserve
    doubled_at: tuple[float, ...] = ()
    growth: Growth = anywhere
    """How growth goes on in a tensor: the highest scores anywhere, or within a pattern (N:M, constant fan-in)."""
    curve: Callable[[float, float, int], Schedule] = cosine
    """(initial, final, its last step) -> fraction by step."""
    sees_drop: bool = False
    """Whether the masks that ``grow`` sees are those after the drop; such a criterion reads no gradient."""

    @property
    def criteria(self) -> set[Criterion]:
        """What it scores weights by."""
        grow = None if self.sees_drop else self.grow
        return {self.drop.criterion} if grow is None else {self.drop.criterion, grow}

    def __post_init__(self) -> None:
        for name, share in (("drop_fraction", self.initial), ("drop_fraction_final", self.final)):
            Key("a share of a layer's active weights", at_least=0, at_most=1).check(name, share)
        if self.until not in ("end", "tf"):
            Key("a share of the run; or 'end', 'tf'", above=0, at_most=1).check(
                "regenerate_until", self.until
            )
        Key("shares of the run", above=0, below=1).check("doubled_at", self.doubled_at)


@dataclass(frozen=True)
class ChannelPrune:
    """Channels that go for good, at regenerations: along a cubic from none at step 0 to ``share`` of all of them.

    It ends with the last update not after ``until``, a share of the run. What goes with them grows elsewhere. Every
    place keeps ``floor`` of the 1 - ``share`` that stays on average.
    """

    share: float
    until: float
    floor: float = 0.0
    criterion: Criterion = magnitude

    def __post_init__(self) -> None:
        Key("of the channels", at_least=0, below=1).check("channel_sparsity", self.share)
        Key("a share of the run", above=0, at_most=1).check("channels_until", self.until)
        Key("a share of 1 - channel_sparsity", at_least=0, at_most=1).check("channel_floor", self.floor)

    def last_step(self, total_steps: int, update_interval: int) -> int:
        """The update after which no channel goes. Raises UserError where there is none."""
        until = round(self.until * total_steps)
        if (last := last_multiple(until, update_interval)) < 1:
            raise UserError(
                f"update_interval={update_interval}: no mask update falls before step {until}, "
                f"channels_until={self.until} of the run; lower update_interval or train longer"
            )
        return last

    def least(self, size: int) -> int:
        """Of ``size`` channels of one place, how many stay at least."""
        return max(1, int(size * (1 - self.share) * self.floor))


@dataclass(frozen=True)
class Retrain:
    """What follows a pruning: ``steps``, at the learning rates that ``schedule`` makes of the training before.

    ``steps``: optimizer steps; None: a tenth of that training.
    """

    steps: int | None
    schedule: Retraining

    def length(self, trained_steps: int) -> int:
        """Optimizer steps, after a training of ``trained_steps``."""
        return self.steps or max(1, round(0.1 * trained_steps))


@dataclass(frozen=True)
class Method:
    """A sparse-training method. ``None`` in a field: the method has no such phase.

    Raises UserError, here and not in the training, for axes that cannot work together.
    """

    family: Family
    init: Init | None = None  # None: no masks at all (dense)
    update_interval: int | None = None  # optimizer steps between mask updates
    prune: Prune | None = None
    regenerate: Regenerate | None = None
    channels: ChannelPrune | None = None
    """What takes whole channels out of a network whose weights are pruned one by one."""
    granularity: Granularity = ELEMENT
    projection: Projection = GRADIENT
    """Where the mask acts."""
    regrown: Literal["zero", "kept"] = "zero"
    """What a weight that an update drops and grows again starts from: zero (GraNet's text), or its value and momentum
    (GraNet's released code, and RigL's)."""
    langevin: Langevin | None = None
    """A pull and noise on the active weights after every optimizer step."""
    rounds: int = 1
    """How often the training schedule is run; a mask update falls between two rounds."""
    restart: Literal["weights", "lr"] | int | None = None
    """What a round starts from: the run's initial weights, or the last round's (only the learning rate restarts), or
    the first round's after as many optimizer steps, from where the schedule goes on too."""
    retrain: Retrain | None = None
    """How long a round is, and its learning rates; None: as the training schedule says."""

    @property
    def criteria(self) -> frozenset[Criterion]:
        """All criteria that an update may ask."""
        used = {phase.criterion for phase in (self.prune, self.channels) if phase}
        if self.regenerate is not None:
            used |= self.regenerate.criteria
        return frozenset(used)

    def __post_init__(self) -> None:
        if self.update_interval is not None and self.update_interval < 1:
            raise UserError(f"update_interval={self.update_interval} must be at least 1 optimizer step")
        if self.prune is not None:
            cubic(self.prune.si, self.prune.sf, 0, 1)  # raises on impossible sparsities
        for impossible, why in self._conflicts():
            if impossible:
                raise UserError(f"method: {why}")

    def _conflicts(self) -> Iterator[tuple[bool, str]]:
        """Combinations of axes that cannot work, each with the reason and the way out."""
        phases = self.prune is not None or self.regenerate is not None
        forward = self.projection.keeps_values
        yield (
            self.init is None and (phases or self.langevin is not None or self.projection is not GRADIENT),
            "init=None has no masks, so nothing can be pruned, regenerated, moved or projected; give an init",
        )
        yield (
            phases and self.update_interval is None and self.rounds == 1,
            "prune and regenerate need an update_interval, or rounds; without them no update is ever due",
        )
        yield self.rounds < 1, f"rounds={self.rounds} must be at least 1"
        yield (
            self.restart is not None and self.update_interval is not None,
            "restart belongs to rounds: with an update_interval every mask update would start the training anew",
        )
        late = self.restart if isinstance(self.restart, int) else 0
        yield late < 0, f"rewind={late} must be a point of the first round, at least step 0"
        yield (
            self.retrain is not None and (self.update_interval is not None or self.retrain.steps == 0),
            "retrain is what follows the pruning of a round; give it a step at least, and no update_interval",
        )
        yield (
            forward and self.regenerate is not None,
            "in a forward projection masked weights keep their values and every update ranks all of them, so there is "
            "nothing to regenerate; use prune, or projection=GRADIENT",
        )
        yield (
            forward and bool(self.granularity.vectors),
            "a forward projection masks single weights, not the BatchNorm of a filter; use projection=GRADIENT",
        )
        yield (
            self.channels is not None
            and (
                self.regenerate is None
                or not self.regenerate.grow
                or self.granularity is not ELEMENT
                or forward
            ),
            "channels go at regenerations of single weights, which grow elsewhere what went with them; give "
            "regenerate with a criterion to grow by, granularity=ELEMENT, and no forward projection",
        )
        yield (
            self.regenerate is not None
            and self.regenerate.growth is not anywhere
            and (not self.regenerate.grow or self.channels is not None or self.granularity is not ELEMENT),
            "growth within a pattern is of single weights by a criterion; give regenerate with one to grow by, "
            "granularity=ELEMENT, and no channels",
        )
        yield (
            over_threshold in self.criteria and not learns_threshold(self.projection),
            "criterion over_threshold needs thresholds that are learned; use projection=Forward(SoftThreshold)",
        )
        grow = self.regenerate.grow if self.regenerate else None
        yield (
            grow is momentum and not self.projection.dense_gradient,
            "growth by momentum needs a momentum of all weights, and a projected one is zero where masked; "
            "use projection=WEIGHT",
        )
        yield (
            grow is sign_flip or (self.prune is not None and self.prune.criterion is sign_flip),
            "criterion sign_flip needs the signs of step 0, which only a Drop remembers; use it in a Drop",
        )
