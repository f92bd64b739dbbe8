"""When a method does what, in a run of a given length: pure functions of the optimizer step."""

from granet.criteria import Criterion, reads
from granet.method import Method
from granet.schedules import constant, cubic
from granet.types import Schedule, UserError


class Clock:
    """A method's timetable over ``total_steps`` optimizer steps, all rounds together. It does not change.

    - ``total_steps``: of the run
    - ``interval``: steps between mask updates; None: never
    - ``target``: step -> sparsity to prune to
    - ``fraction``: step -> share of the active weights that a regeneration drops
    - ``removed``: step -> share of all channels that are removed by then
    - ``last_pruning_step``: from there on the sparsity is final; 0 where it never changes

    Raises UserError where the method's times do not fit the run.
    """

    def __init__(self, method: Method, total_steps: int, gradient_steps: int = 1) -> None:
        """``gradient_steps``: an update goes by the mean gradient of as many steps."""
        self.total_steps = total_steps
        self._method = method
        self._gradient_steps = gradient_steps
        # rounds after the first leave out what comes before the point that they go back to
        self._left_out = late = method.restart if isinstance(method.restart, int) and method.rounds > 1 else 0
        self.interval = method.update_interval or (
            (total_steps - late) // method.rounds if method.rounds > 1 else None
        )
        if self.interval is not None and self.interval < 1:
            raise UserError(
                f"total_steps={total_steps} is too short for {method.rounds} rounds that rewind to step {late}; "
                "train longer, or rewind to an earlier step"
            )
        self.target: Schedule = constant(0.0)
        self.fraction: Schedule = constant(0.0)
        self.removed: Schedule = constant(0.0)
        self.last_pruning_step = self._first_prune = self._prune_stop = self._regenerate_stop = 0
        self._removal_stop = 0
        self._doubled: list[int] = []
        if (phase := method.prune) is not None:
            span = phase.span(total_steps - late, self.interval or 1)
            self._first_prune, self.last_pruning_step = span[0] + late, span[1] + late
            self.target = phase.curve(phase.si, phase.sf, self._first_prune, self.last_pruning_step)
            self._prune_stop = total_steps if phase.until == "end" else self.last_pruning_step
        if (phase := method.regenerate) is not None:
            horizon = round(phase.until * total_steps) if not isinstance(phase.until, str) else total_steps
            self.fraction = phase.curve(phase.initial, phase.final, horizon)
            self._regenerate_stop = self.last_pruning_step if phase.until == "tf" else horizon
            self._doubled = [round(share * total_steps) for share in phase.doubled_at]
        if phase is not None and method.prune is None and self._regenerate_stop < (self.interval or 1):
            raise UserError(
                f"update_interval={self.interval}: no mask update falls into the {self._regenerate_stop} steps that "
                f"regenerate (of {total_steps}); lower update_interval or train longer"
            )
        if (phase := method.channels) is not None:
            self._removal_stop = phase.last_step(total_steps, self.interval or 1)
            self.removed = cubic(0.0, phase.share, 0, self._removal_stop)
        if not 1 <= gradient_steps <= (self.interval or 1):
            raise UserError(
                f"gradient_steps={gradient_steps} must be at least 1, and at most update_interval={self.interval}"
            )

    def prunes_at(self, step: int) -> bool:
        """Whether the update after ``step`` prunes, if there is one."""
        return self._method.prune is not None and self._first_prune <= step <= self._prune_stop

    def regenerates_at(self, step: int) -> bool:
        """Whether the update after ``step`` regenerates, if there is one."""
        interval = (self.interval or 1) * 2 ** sum(step > doubled for doubled in self._doubled)
        return step <= self._regenerate_stop and step % interval == 0

    def opens_at(self, step: int) -> bool:
        """Whether the update after ``step``, if there is one, makes a sparse network dense again (AC/DC)."""
        return self.prunes_at(step) and self.target(step) < self.target(step - (self.interval or 1))

    def removes_at(self, step: int) -> bool:
        """Whether the update after ``step`` may remove channels, if there is one."""
        return self.regenerates_at(step) and step <= self._removal_stop

    def updates_at(self, step: int) -> bool:
        """Whether the masks change after optimizer step ``step`` (counted from 1)."""
        within = step - self._left_out
        due = self.interval is not None and within > 0 and within % self.interval == 0
        return due and (self.prunes_at(step) or self.regenerates_at(step))

    def reads_gradient_at(self, step: int) -> bool:
        """Whether ``step`` or the update after it needs gradients of inactive weights (they cost FLOPs)."""
        return self.inactive_gradients_at(step) > 0

    def inactive_gradients_at(self, step: int) -> float:
        """Of how many inactive weights ``step`` needs the gradient, for each active one: inf of all of them."""
        read = (self._reads_at(later) for later in range(step, step + self._gradient_steps))
        return max([self._method.projection.inactive_gradients, *(number or 0.0 for number in read)])

    def keeps_gradient_at(self, step: int) -> bool:
        """Whether an update goes by the gradient of ``step``, among others."""
        return any(map(self.ranks_gradient_at, range(step, step + self._gradient_steps)))

    def ranks_gradient_at(self, step: int) -> bool:
        """Whether the update after ``step`` scores weights by a gradient."""
        return self._reads_at(step) is not None

    def _reads_at(self, step: int) -> float | None:
        used = map(reads, self.criteria_at(step)) if self.updates_at(step) else ()
        return max((number for number in used if number is not None), default=None)

    def criteria_at(self, step: int) -> set[Criterion]:
        """What the update after ``step`` scores weights by, if there is one."""
        used: set[Criterion] = set()
        if (phase := self._method.prune) is not None and self.prunes_at(step):
            used.add(phase.criterion)
        if (phase := self._method.regenerate) is not None and self.regenerates_at(step):
            used |= phase.criteria
        if (phase := self._method.channels) is not None and self.removes_at(step):
            used.add(phase.criterion)
        return used
