"""Which stages are to run, in what order, and how long that may take: no processes, no DVC, no clock of its own."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from graphlib import TopologicalSorter
from statistics import mean

from granet.types import UserError
from pipeline.training.stages import STAGES

Needs = Mapping[str, frozenset[str]]
"""Stage -> the stages whose outputs it reads."""


def kind(stage: str) -> str:
    """The part of a stage's name before its cell.

    >>> kind("sparse@digits-resnet20-granet-0.98-0")
    'sparse'
    """
    return stage.partition("@")[0]


def uses_device(stage: str) -> bool:
    """Whether a stage runs a cell of the grid, and so may use a device; preparing and reporting do not.

    >>> uses_device("sparse@digits-resnet20-granet-0.9-0"), uses_device("prepare@digits"), uses_device("report")
    (True, False, False)
    """
    return kind(stage) in STAGES


def select(needs: Needs, targets: Iterable[str]) -> set[str]:
    """The stages that the targets name, by name or by its beginning, and all that they need; no targets: every stage.

    Raises UserError where a target names no stage.

    >>> needs = {"prepare": frozenset(), "sparse@a-0": frozenset({"prepare"}), "sparse@a-1": frozenset({"prepare"})}
    >>> sorted(select(needs, ["sparse@a-1"]))
    ['prepare', 'sparse@a-1']
    >>> select(needs, ["sparse"]) == set(needs)
    True
    """
    targets = list(targets)
    if not targets:
        return set(needs)
    wanted: list[str] = []
    for target in targets:
        matching = [name for name in needs if name == target or name.startswith((f"{target}@", f"{target}-"))]
        if not matching:
            kinds = ", ".join(dict.fromkeys(map(kind, needs)))
            raise UserError(
                f"{target!r} is no stage, nor the beginning of one ({kinds}); see: dvc stage list --name-only"
            )
        wanted += matching
    chosen: set[str] = set()
    while wanted:
        if (stage := wanted.pop()) not in chosen:
            chosen.add(stage)
            wanted += needs[stage]
    return chosen


def plan(needs: Needs, stale: Iterable[str], wanted: Iterable[str]) -> Needs:
    """The wanted stages that are stale, or need one that will run; with what they need among these.

    >>> needs = {"a": frozenset(), "b": frozenset({"a"}), "c": frozenset({"b"}), "d": frozenset()}
    >>> {stage: set(needed) for stage, needed in plan(needs, ["b", "d"], ["a", "b", "c"]).items()}
    {'b': set(), 'c': {'b'}}
    """
    stale, wanted = set(stale), set(wanted)
    planned: set[str] = set()
    for stage in TopologicalSorter(needs).static_order():
        if stage in wanted and (stage in stale or planned & needs[stage]):
            planned.add(stage)
    return {stage: needs[stage] & planned for stage in needs if stage in planned}


class State(Enum):
    """Where a planned stage stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass
class Schedule:
    """What may start now, and what follows from an end. Times are seconds of the caller's clock."""

    needs: Needs
    state: dict[str, State] = field(init=False)
    _since: dict[str, float] = field(default_factory=dict)
    _not_before: dict[str, float] = field(default_factory=dict)
    _durations: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self.state = dict.fromkeys(self.needs, State.WAITING)

    def of(self, state: State) -> list[str]:
        """The stages in a state."""
        return [stage for stage, its in self.state.items() if its is state]

    @property
    def over(self) -> bool:
        """Whether nothing runs and nothing can start any more."""
        return not {State.WAITING, State.RUNNING} & set(self.state.values())

    def counts(self) -> Counter[State]:
        """How many stages are in each state."""
        return Counter(self.state.values())

    def ready(self, now: float) -> list[str]:
        """The stages that may start: all that they need is done."""
        return [
            stage
            for stage in self.of(State.WAITING)
            if self._not_before.get(stage, now) <= now
            and all(self.state[needed] is State.DONE for needed in self.needs[stage])
        ]

    def start(self, stage: str, now: float) -> None:
        """The stage runs. Called again while it waits in a queue, it moves the begin of its time."""
        self.state[stage] = State.RUNNING
        self._since[stage] = now

    def postpone(self, stage: str, until: float) -> None:
        """The stage could not begin; it may start again at ``until``."""
        self.state[stage] = State.WAITING
        self._not_before[stage] = until

    def done(self, stage: str, now: float, *, ran: bool) -> None:
        """The stage ended well. Not ``ran``: nothing of it had changed, so its time says nothing about others."""
        self.state[stage] = State.DONE
        if ran:
            self._durations[kind(stage)].append(self.elapsed(stage, now))

    def failed(self, stage: str) -> list[str]:
        """The stage failed; returns what is skipped because of it."""
        self.state[stage] = State.FAILED
        skipped: list[str] = []
        lost = {stage}
        for other in TopologicalSorter(self.needs).static_order():
            if self.needs[other] & lost:
                lost.add(other)
                if self.state[other] is State.WAITING:
                    self.state[other] = State.SKIPPED
                    skipped.append(other)
        return skipped

    def elapsed(self, stage: str, now: float) -> float:
        """Seconds since the stage was started."""
        return now - self._since[stage]

    def left(self, stage: str, now: float) -> float | None:
        """Seconds a stage may still take, by the mean of the finished ones of its kind; None: none has finished."""
        if not (known := self._durations.get(kind(stage))):
            return None
        gone = self.elapsed(stage, now) if self.state[stage] is State.RUNNING else 0.0
        return max(0.0, mean(known) - gone)

    def time_left(self, now: float, at_once: int) -> tuple[float, bool]:
        """Seconds until all is done with ``at_once`` stages at a time, and whether every kind's duration is known.

        No less than the work that is left, shared out evenly, and than the longest single stage.
        """
        known = [self.left(stage, now) for stage in (*self.of(State.RUNNING), *self.of(State.WAITING))]
        seconds = [value for value in known if value is not None]
        return max([sum(seconds) / at_once, *seconds], default=0.0), None not in known
