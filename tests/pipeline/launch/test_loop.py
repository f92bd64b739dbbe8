"""pipeline.launch.loop: jobs that end, that are busy, and that are refused; with an executor without processes."""

import pytest

from granet.types import UserError
from pipeline.launch import loop as launch_loop
from pipeline.launch.job import RefusedError, log_path
from pipeline.launch.plan import Schedule, State


def needs(**edges):
    return {stage: frozenset(needed.split()) for stage, needed in edges.items()}


class Fake:
    """An executor whose stages end at once, as its script says: the log's text and the exit code of each start."""

    def __init__(self, **ends):
        self.ends = {stage: list(texts) for stage, texts in ends.items()}
        self.started = []
        self.stopped = False

    def start(self, stage):
        self.started.append(stage)
        text, code = self.ends[stage].pop(0)
        log = log_path(stage)
        log.write_text(text)
        return FakeJob(log, code)

    def stop(self):
        self.stopped = True


class FakeJob:
    where = ""
    queued = False

    def __init__(self, log, code):
        self.log = log
        self.code = code

    def poll(self):
        return self.code


BUSY = ("ERROR: failed: '/x/runs' is busy, it is being blocked by:\n  (PID 1): dvc repro\n", 255)


@pytest.fixture
def at_once(monkeypatch, tmp_path):
    """Without pauses, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launch_loop, "RETRY_S", 0.0)
    monkeypatch.setattr(launch_loop, "TICK_S", 0.0)


@pytest.mark.usefixtures("at_once")
def test_a_stage_whose_files_are_busy_is_tried_again(capsys):
    fake = Fake(a=[BUSY, BUSY, ("Running stage 'a':\n", 0)], b=[("", 0)])
    schedule = Schedule(needs(a="", b="a"))
    launch_loop.Launch(schedule, fake, at_once=1).run()
    assert fake.started == ["a", "a", "a", "b"]
    assert set(schedule.state.values()) == {State.DONE}
    assert fake.stopped
    assert "another DVC process uses its files" in capsys.readouterr().out


@pytest.mark.usefixtures("at_once")
def test_a_stage_whose_files_stay_busy_fails():
    fake = Fake(a=[BUSY] * (launch_loop.MAX_RETRIES + 1))
    run = launch_loop.Launch(Schedule(needs(a="")), fake, at_once=1)
    run.run()
    assert list(run.failed) == ["a"]


class Limited(Fake):
    """One that refuses a stage where as many jobs as its limit run already. Its jobs end when they are told to."""

    def __init__(self, limit, stages):
        super().__init__(**{stage: [("Running stage", None)] for stage in stages})
        self.limit = limit
        self.jobs = {}
        self.refusals = 0

    def start(self, stage):
        if sum(job.code is None for job in self.jobs.values()) >= self.limit:
            self.refusals += 1
            raise RefusedError(f"sbatch refuses the job of {stage}: too many jobs")
        self.jobs[stage] = super().start(stage)
        return self.jobs[stage]


def launched(executor, graph, times):
    """A launch after steps at these times, each of which ends the jobs that are named beside it."""
    launch = launch_loop.Launch(Schedule(graph), executor, at_once=9)
    for now, ending in times:
        for stage in ending:
            executor.jobs[stage].code = 0
        launch._step(now)
    return launch


@pytest.mark.usefixtures("at_once")
def test_a_refusal_while_others_run_means_later(capsys):
    executor = Limited(2, "abcd")
    launched(executor, needs(a="", b="", c="", d=""), [(0, ""), (1, ""), (2, "")])
    assert (executor.started, executor.refusals) == (["a", "b"], 1)  # and no further one at every tick
    printed = capsys.readouterr().out
    assert printed.count("later") == 1
    assert "sbatch refuses the job of c: too many jobs" in printed


@pytest.mark.usefixtures("at_once")
def test_the_next_end_of_a_job_lets_the_next_one_start(capsys):
    executor = Limited(2, "abcd")
    launched(executor, needs(a="", b="", c="", d=""), [(0, ""), (1, "a"), (2, ""), (3, "bc"), (4, "")])
    assert executor.started == ["a", "b", "c", "d"]


@pytest.mark.usefixtures("at_once")
def test_without_an_end_a_refused_stage_is_tried_again_after_a_pause():
    executor = Limited(1, "ab")
    later = launch_loop.LATER_S
    launch = launched(executor, needs(a="", b=""), [(0, ""), (later - 1, ""), (later, "")])
    assert executor.refusals == 2
    executor.limit = 2
    launch._step(2 * later)
    assert executor.started == ["a", "b"]


@pytest.mark.usefixtures("at_once")
def test_a_refusal_where_nothing_runs_ends_the_launch():
    executor = Limited(0, "a")
    with pytest.raises(UserError, match="sbatch refuses the job of a: too many jobs"):
        launch_loop.Launch(Schedule(needs(a="")), executor, at_once=1).run()
    assert executor.stopped


@pytest.mark.usefixtures("at_once")
def test_a_job_that_has_just_ended_may_still_count():
    executor = Limited(1, "ab")
    launch = launched(executor, needs(a="", b=""), [(0, ""), (1, "a")])
    executor.limit = 0
    launch._step(2)  # the scheduler has not noticed yet
    with pytest.raises(UserError, match="refuses"):
        launch._step(2 + launch_loop.LATER_S)


@pytest.mark.usefixtures("at_once")
def test_nothing_starts_when_the_time_is_over(monkeypatch):
    """Of a clock that goes a second with every look."""
    ticks = iter(range(1000))
    monkeypatch.setattr(launch_loop.time, "monotonic", lambda: float(next(ticks)))
    fake = Fake(a=[("Running stage 'a':\n", None)], b=[("", 0)])
    schedule = Schedule(needs(a="", b="a"))
    launch_loop.Launch(schedule, fake, 1, time_s=20.0).run()
    assert fake.started == ["a"] and fake.stopped
    assert (schedule.of(State.RUNNING), schedule.of(State.WAITING)) == (["a"], ["b"])
