"""pipeline.launch.plan: what is to run, in which order, and what follows from an end; without processes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from granet.types import UserError
from pipeline.launch.plan import Schedule, State, plan, select


def needs(**edges):
    return {stage: frozenset(needed.split()) for stage, needed in edges.items()}


DIAMOND = needs(prepare="", left="prepare", right="prepare", after="left", report="left right after")


# --- the plan


@pytest.mark.parametrize(
    ("stale", "targets", "planned"),
    [
        ([], [], []),
        (["report"], [], ["report"]),
        (["left"], [], ["left", "after", "report"]),  # what follows is run too: its dependencies will change
        (["left", "right", "report"], ["after"], ["left", "after"]),
        (["prepare"], ["right"], ["prepare", "right"]),
        (["right"], ["left"], []),
    ],
)
def test_planned_is_what_is_stale_and_what_follows_from_it_among_the_wanted(stale, targets, planned):
    assert list(plan(DIAMOND, stale, select(DIAMOND, targets))) == planned


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("sparse", {"prepare@a", "sparse@a-granet-0", "sparse@a-granet_s2s-0"}),
        ("sparse@a-granet", {"prepare@a", "sparse@a-granet-0"}),  # granet_s2s is another method
        ("sparse@a-granet_s2s-0", {"prepare@a", "sparse@a-granet_s2s-0"}),
        ("prepare", {"prepare@a"}),
    ],
)
def test_a_target_is_a_stage_or_its_beginning(target, found):
    stages = {"prepare@a": "", "sparse@a-granet-0": "prepare@a", "sparse@a-granet_s2s-0": "prepare@a"}
    assert select(needs(**stages), [target]) == found


@pytest.mark.parametrize("target", ["spars", "sparse@b", "", "train.epochs=3"])
def test_an_unknown_target_is_refused(target):
    with pytest.raises(UserError, match=r"is no stage, nor the beginning of one \(sparse\)"):
        select(needs(**{"sparse@a": ""}), [target])


def test_a_failure_skips_what_depends_on_it_and_nothing_else():
    schedule = Schedule(DIAMOND)
    assert schedule.ready(now=0) == ["prepare"]
    schedule.start("prepare", now=0)
    assert schedule.ready(now=0) == []
    schedule.done("prepare", now=1, ran=True)
    assert schedule.ready(now=1) == ["left", "right"]
    schedule.start("left", now=1)
    assert schedule.failed("left") == ["after", "report"]
    assert schedule.ready(now=1) == ["right"]
    assert not schedule.over
    schedule.start("right", now=1)
    schedule.done("right", now=2, ran=True)
    assert schedule.over


def test_a_postponed_stage_waits_for_its_time():
    schedule = Schedule(needs(a=""))
    schedule.start("a", now=0)
    schedule.postpone("a", until=5)
    assert schedule.ready(now=4.9) == []
    assert schedule.ready(now=5) == ["a"]


@given(data=st.data(), size=st.integers(1, 8), at_once=st.integers(1, 3))
def test_every_order_of_ends_leads_to_an_end(data, size, at_once):
    """Random graphs, random outcomes: nothing starts before its needs, and only what lost one of them is skipped."""
    names = [f"s{i}" for i in range(size)]
    graph = {
        name: frozenset(data.draw(st.sets(st.sampled_from(names[:i])))) if i else frozenset()
        for i, name in enumerate(names)
    }
    schedule = Schedule(graph)
    while not schedule.over:
        for stage in schedule.ready(0)[: at_once - len(schedule.of(State.RUNNING))]:
            assert all(schedule.state[needed] is State.DONE for needed in graph[stage])
            schedule.start(stage, 0)
        running = schedule.of(State.RUNNING)
        assert 0 < len(running) <= at_once
        ended = data.draw(st.sampled_from(running))
        if data.draw(st.booleans()):
            schedule.done(ended, 1, ran=True)
        else:
            schedule.failed(ended)
    for stage, state in schedule.state.items():
        lost = any(schedule.state[needed] in (State.FAILED, State.SKIPPED) for needed in graph[stage])
        assert (state is State.SKIPPED) == lost


def test_time_left_is_by_the_mean_of_the_same_kind():
    schedule = Schedule(dict.fromkeys([f"sparse@{i}" for i in range(6)] + ["report"], frozenset()))
    for stage, took in (("sparse@0", 8), ("sparse@1", 12)):
        schedule.start(stage, now=0)
        schedule.done(stage, now=took, ran=True)
    schedule.start("sparse@2", now=12)
    schedule.done("sparse@2", now=13, ran=False)  # nothing of it had changed: no measure of the others
    assert schedule.left("sparse@3", now=20) == 10
    schedule.start("sparse@3", now=20)
    assert schedule.left("sparse@3", now=24) == 6
    assert schedule.left("sparse@3", now=99) == 0
    assert schedule.left("report", now=24) is None
    assert schedule.time_left(now=24, at_once=2) == ((6 + 10 + 10) / 2, False)  # the report's is not known
    assert schedule.time_left(now=24, at_once=26) == (10, False)  # no less than the longest
