"""How the rounds of a method divide a run: their steps, their epochs, and their places in the schedule."""

from dataclasses import dataclass

from granet.method import Method
from granet.types import UserError


@dataclass(frozen=True)
class Rounds:
    """``number`` rounds of ``first`` and then ``others`` optimizer steps; one round is the whole run.

    A round that is no whole number of epochs of ``epoch_steps`` begins within one, so that each ends with an epoch.

    >>> late = Rounds(number=3, first=40, others=34, epoch_steps=10)  # rewound to step 6
    >>> late.total_steps, late.epochs, [late.place(step) for step in (0, 39, 40, 73, 74)]
    (108, 12, [0, 39, 6, 39, 6])
    >>> [late.first_batch(epoch) for epoch in range(9)], [late.epoch_of(step) for step in (40, 41, 44, 45, 74)]
    ([0, 0, 0, 0, 6, 0, 0, 0, 6], [4, 5, 5, 6, 8])
    """

    number: int
    first: int
    others: int
    epoch_steps: int

    @classmethod
    def of(cls, method: Method, schedule_steps: int, epoch_steps: int) -> "Rounds":
        """The rounds of a method whose schedule takes ``schedule_steps``.

        Raises UserError where a round would have no step.
        """
        first = method.retrain.length(schedule_steps) if method.retrain is not None else schedule_steps
        late = method.restart if isinstance(method.restart, int) else 0
        if late >= first:
            raise UserError(
                f"rewind={late} steps is not before the end of a round ({first} steps); rewind to an earlier step"
            )
        return cls(method.rounds, first, first - late, epoch_steps)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of all rounds."""
        return self.first + (self.number - 1) * self.others

    @property
    def epochs(self) -> int:
        """Epochs of all rounds, each of which has a row of the history."""
        return self._epochs(self.first) + (self.number - 1) * self._epochs(self.others)

    @property
    def skipped(self) -> int:
        """Batches that the first epochs of rounds leave out."""
        return self.epochs * self.epoch_steps - self.total_steps

    def place(self, step: int) -> int:
        """The step of the schedule that optimizer step ``step`` of the run, counted from 0, stands at."""
        return step if step < self.first else self.first - self.others + (step - self.first) % self.others

    def first_batch(self, epoch: int) -> int:
        """The batch with which an epoch, counted from 0, begins."""
        before = self._epochs(self.first)
        if 0 < epoch < before or (epoch - before) % self._epochs(self.others):
            return 0
        return -(self.others if epoch else self.first) % self.epoch_steps

    def epoch_of(self, step: int) -> int:
        """The epoch, counted from 1, that step ``step``, counted from 1, belongs to."""
        if step <= self.first:
            return self._epochs(step + -self.first % self.epoch_steps)
        whole, within = divmod(step - self.first - 1, self.others)
        begun = self._epochs(within + 1 + -self.others % self.epoch_steps)
        return self._epochs(self.first) + whole * self._epochs(self.others) + begun

    def _epochs(self, steps: int) -> int:
        return -(-steps // self.epoch_steps)
