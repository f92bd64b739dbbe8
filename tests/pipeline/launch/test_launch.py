"""python -m pipeline.launch: its plan without processes, its executor with small ones, and the whole with real DVC."""

import io
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from granet.types import UserError
from pipeline.launch import job as executors
from pipeline.launch import loop as launch_loop
from pipeline.launch import main as launch
from pipeline.launch.job import stage_environment
from pipeline.launch.local import LocalExecutor, visible_devices
from pipeline.launch.plan import Schedule, State, plan, select
from pipeline.launch.view import LaunchView, last_lines
from pipeline.params import files as params
from tests.helpers.project import SMALL, Project

CELL = "digits-resnet20"
GMP, GRANET = f"sparse@{CELL}-gmp-0.98-0", f"sparse@{CELL}-granet-0.98-0"
REINIT = f"reinit@{CELL}-gmp-0.98-0"
RECIPE = (
    *SMALL,
    *("train.precision=fp32", "grid.methods=[gmp,granet]", "grid.reinit=[gmp]", "grid.retrain=[]"),
)


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


# --- the processes


@pytest.fixture
def scripts(monkeypatch, tmp_path):
    """Stages are Python scripts by name, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    codes: dict[str, str] = {}
    monkeypatch.setattr(executors, "stage_command", lambda stage: [sys.executable, "-c", codes[stage]])
    return codes


def until(true, seconds=20):
    """Wait for something to come true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it has not come true"
        time.sleep(0.05)


def wait(job):
    """The exit code of a job."""
    until(lambda: job.poll() is not None)
    return job.poll()


def test_output_and_exit_code_of_a_stage_are_kept(scripts):
    scripts["a@b"] = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    job = LocalExecutor(1, []).start("a@b")
    assert wait(job) == 3
    assert (job.log, job.log.read_text()) == (Path("logs/a@b.log"), "out\nerr\n")


def test_runs_are_spread_over_the_devices(scripts):
    scripts |= {"short": "pass", "long": "import time; time.sleep(60)"}
    executor = LocalExecutor(4, ["2", "5"])
    assert wait(executor.start("short")) == 0  # it has ended: its device is free again
    jobs = [executor.start("long") for _ in range(4)]
    executor.stop()
    assert [job.where for job in jobs] == ["GPU 2", "GPU 5", "GPU 2", "GPU 5"]


def test_a_run_of_several_processes_has_as_many_devices(scripts):
    scripts["long"] = "import time; time.sleep(60)"
    executor = LocalExecutor(2, ["2", "5", "6", "7"], per_run=2)
    jobs = [executor.start("long") for _ in range(2)]
    executor.stop()
    assert [job.where for job in jobs] == ["GPU 2,5", "GPU 6,7"]


def test_a_stage_sees_its_devices_only(scripts):
    scripts["a"] = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"
    job = LocalExecutor(1, ["5", "6", "7"], per_run=2).start("a")
    wait(job)
    assert job.log.read_text() == "5,6\n"


def test_preparing_and_reporting_take_no_device(scripts):
    scripts |= {"prepare@digits": "pass", "report": "pass", "dense@digits": "pass"}
    executor = LocalExecutor(4, ["0"])
    assert [executor.start(stage).where for stage in scripts] == ["", "", "GPU 0"]
    executor.stop()


@pytest.mark.parametrize(
    ("visible", "names"), [(None, ["0", "1"]), ("3,7", ["3", "7"]), ("GPU-a,GPU-b", ["GPU-a", "GPU-b"])]
)
def test_devices_are_named_as_the_caller_sees_them(monkeypatch, visible, names):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert visible_devices() == names


@pytest.mark.parametrize(
    ("device", "asked", "runs_per_gpu", "at_once"),
    [("auto", None, 1, 2), ("auto", None, 3, 6), ("cuda", 5, 1, 5), ("cpu", None, 3, 1), ("cpu", 4, 1, 4)],
)
def test_stages_at_a_time(monkeypatch, device, asked, runs_per_gpu, at_once):
    monkeypatch.setattr(launch, "visible_devices", lambda: ["0", "1"])
    given = params.compose(["recipe=quick", f"train.device={device}", f"launch.runs_per_gpu={runs_per_gpu}"])
    assert launch.choose_executor("local", asked, given, ["report", "sparse@a"])[1] == at_once


@pytest.mark.parametrize(
    ("num_processes", "runs_per_gpu", "at_once"), [(2, 1, 2), (4, 1, 1), (3, 1, 1), (2, 2, 4)]
)
def test_runs_of_several_processes_at_a_time(monkeypatch, num_processes, runs_per_gpu, at_once):
    monkeypatch.setattr(launch, "visible_devices", lambda: ["0", "1", "2", "3"])
    changes = f"train.num_processes={num_processes}", f"launch.runs_per_gpu={runs_per_gpu}"
    given = params.compose(["recipe=quick", *changes])
    assert launch.choose_executor("local", None, given, ["report", "sparse@a"])[1] == at_once


def test_more_processes_than_devices_are_refused(monkeypatch):
    monkeypatch.setattr(launch, "visible_devices", lambda: ["0", "1"])
    given = params.compose(["recipe=quick", "train.num_processes=4"])
    with pytest.raises(UserError, match=r"train.num_processes=4 needs as many GPUs, and this machine has 2"):
        launch.choose_executor("local", None, given, ["report", "sparse@a"])
    assert launch.choose_executor("local", None, given, ["prepare", "report"])[1] == 1


@pytest.mark.parametrize(
    ("at_once", "devices", "per_run", "threads"),
    [
        (1, [], 1, None),
        (2, [], 1, "4"),
        (3, [], 1, "2"),
        (20, [], 1, "1"),
        (2, ["0"], 1, None),
        (1, [], 2, "4"),
        (2, [], 2, "2"),
    ],
)
def test_runs_on_the_cpu_share_its_cores(monkeypatch, at_once, devices, per_run, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    executor = LocalExecutor(at_once, devices, per_run)
    assert executor.environment.get("OMP_NUM_THREADS") == threads


def test_threads_that_are_set_stay(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert "OMP_NUM_THREADS" not in stage_environment(2)


WAITS = "import time; open('up', 'w').close(); time.sleep(60)"
OUTER = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {WAITS!r}]).returncode)"
DEAF = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); {WAITS}"


@pytest.mark.parametrize(
    ("script", "code"), [(WAITS, -signal.SIGINT), (OUTER, -signal.SIGINT), (DEAF, -signal.SIGKILL)]
)
def test_stop_ends_the_whole_group_also_what_does_not_listen(scripts, monkeypatch, script, code):
    monkeypatch.setattr(executors, "GRACE_S", 2.0)
    scripts["a"] = script
    executor = LocalExecutor(1, [])
    job = executor.start("a")
    until(Path("up").exists)
    executor.stop()
    assert wait(job) == code
    with pytest.raises(ProcessLookupError):  # nobody of the group is left
        os.killpg(job.pid, 0)


class Fake:
    """An executor whose stages end at once, as its script says: the log's text and the exit code of each start."""

    def __init__(self, **ends):
        self.ends = {stage: list(texts) for stage, texts in ends.items()}
        self.started = []
        self.stopped = False

    def start(self, stage):
        self.started.append(stage)
        text, code = self.ends[stage].pop(0)
        log = executors.log_path(stage)
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


# --- what is shown


def test_the_last_lines_of_a_log_are_those_that_say_something(tmp_path):
    log = tmp_path / "log"
    assert last_lines(log, 2) == []
    log.write_bytes(b"one\n\ntwo\nbar 10%\rbar 100%\nsubmitit INFO (now) - Job completed\n\n\xff\n")
    assert last_lines(log, 2) == ["bar 100%", "\N{REPLACEMENT CHARACTER}"]


PROGRESS = "epoch   3/160  loss 0.1234  train 99.00%  val 93.00%  test 92.00%  sparsity 98.00%  1,412 image"


def test_the_table_fits_a_hundred_columns(tmp_path):
    """Four seeds two at a time: the first took 1:00, two have run for 0:40 each, one waits."""
    cells = [f"cifar100-resnet50_cifar-granet_uniform-0.98-{seed}" for seed in range(4)]
    stages = [f"sparse@{cell}" for cell in cells]
    schedule = Schedule(dict.fromkeys(stages, frozenset()))
    shown = io.StringIO()
    console = Console(width=100, file=shown)
    now = [0.0]
    view = LaunchView(schedule, 2, lambda: now[0], console)
    schedule.start(stages[0], now=0)
    schedule.done(stages[0], now=60, ran=True)
    jobs = {}
    for stage, cell in list(zip(stages, cells, strict=True))[1:3]:
        schedule.start(stage, now=60)
        log = tmp_path / cell
        log.write_text(f"{cell}: {PROGRESS}  and more\n")
        jobs[stage] = FakeJob(log, None)
    view.running(jobs)
    now[0] = 100.0
    console.print(view.table())
    assert [line.rstrip() for line in shown.getvalue().splitlines()] == [
        "1 done, 2 running, 1 waiting - 1:40, about 1:00 left  logs/STAGE.log",
        f"{stages[1]:<83}  0:40  0:20 left",
        f"  {PROGRESS}  …",
        f"{stages[2]:<83}  0:40  0:20 left",
        f"  {PROGRESS}  …",
    ]


# --- the command


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-j", "0"], "argument -j: 0 must be at least 1"),
        (["-j", "many"], "argument -j: invalid int value: 'many'"),
        (["--executor", "cloud"], "invalid choice: 'cloud'"),
        (["--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_a_bad_command_line_is_refused(arguments, message):
    with pytest.raises(UserError) as error:
        launch.parse(arguments)
    assert message in str(error.value)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A small recipe in a clone, launched once; what that printed is in its folder as `launched`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # another number of threads may change the last bits
        project = Project(tmp_path_factory.mktemp("launch"))
        project.python("pipeline.params", *RECIPE)
        project.commit("small recipe")
        done = project.python("pipeline.launch", "-j", "2")
        (project.folder / "logs/launched").write_text(done.stdout)
        yield project


def metrics(project):
    folder = project.folder / "runs"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("metrics.json")}


def test_launch_gives_the_same_results_as_dvc_repro(project, tmp_path):
    plain = Project(tmp_path)
    plain.python("pipeline.params", *RECIPE)
    plain.run("dvc", "repro", f"dense@{CELL}-0", GRANET, REINIT)
    assert metrics(project) == metrics(plain)
    assert len(metrics(plain)) == 4
    printed = (project.folder / "logs/launched").read_text()
    assert printed.startswith("6 of 6 stages to run, 2 at a time\n")
    assert printed.count("\ndone ") == 6
    assert "\n6 done in " in printed


def test_a_second_launch_has_nothing_to_do(project):
    started = time.monotonic()
    done = project.python("pipeline.launch", "-j", "2")
    assert done.stdout == "nothing to do: all stages are up to date\n"
    assert time.monotonic() - started < 15
    assert project.run("git", "status", "--short").stdout.split() == ["??", "dvc.lock"]


def test_an_unknown_target_gets_one_line(project):
    done = project.python("pipeline.launch", "dnse", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: 'dnse' is no stage, nor the beginning of one (prepare, dense, sparse, reinit, report); "
        "see: dvc stage list --name-only\n"
    )


def test_a_broken_pipeline_gets_one_line(project):
    before = (project.folder / "dvc.yaml").read_text()
    try:
        (project.folder / "dvc.yaml").write_text(before.replace("${grid.models}", "${grid.networks}"))
        done = project.python("pipeline.launch", check=False)
    finally:
        (project.folder / "dvc.yaml").write_text(before)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: DVC: ")


def test_a_failing_stage_stops_only_what_depends_on_it(project):
    """GraNet's section and the command of reinit change; the latter to one that fails."""
    pipeline = project.folder / "dvc.yaml"
    before = pipeline.read_text()
    broken = before.replace("python -m pipeline.reinit", "python -m pipeline.reinit width=2")
    assert broken != before
    project.python("pipeline.params", *RECIPE, "granet.drop_fraction=0.3")
    try:
        pipeline.write_text(broken)
        done = project.python("pipeline.launch", "-j", "2", check=False)
    finally:
        pipeline.write_text(before)
    assert done.returncode == 1
    assert [line.split()[:2] for line in done.stdout.splitlines() if line.startswith("skip")] == [
        ["skipped", "report"]
    ]
    assert f"\ndone     {GRANET}" in done.stdout
    assert f"\n{REINIT} failed; the end of logs/{REINIT}.log:\n" in done.stdout
    assert "\n    error: width is an unknown key of the reinit stage; it has " in done.stdout
    assert "\n1 done, 1 failed, 1 skipped in " in done.stdout
    again = project.python("pipeline.launch")  # mended: reinit comes back from DVC's cache
    assert stages_of(again.stdout, "done") == {REINIT, "report"}
    assert "nothing to run" in again.stdout


def stages_of(printed, event):
    return {line.split()[1] for line in printed.splitlines() if line.startswith(f"{event} ")}


def test_ctrl_c_ends_the_runs_and_the_same_command_goes_on(project):
    """One target of a longer recipe, interrupted after its first checkpoint."""
    project.python("pipeline.params", *RECIPE, "train.epochs=12")
    command = ["python", "-m", "pipeline.launch", "-j", "2", GMP]
    started = project.start(*command)
    until(lambda: list((project.folder / ".checkpoints").glob("*/last.pt")), seconds=60)
    os.kill(started.pid, signal.SIGINT)
    printed, _ = started.communicate(timeout=60)
    assert started.returncode == 130, printed
    assert printed.endswith("interrupted; run the same command again to go on\n")
    assert running_in(project.folder) == []
    done = project.run(*command)
    assert stages_of(done.stdout, "done") == {GMP}  # and no other target
    assert "goes on after epoch" in (project.folder / f"logs/{GMP}.log").read_text()


def running_in(folder):
    """The commands of the processes whose working folder this is."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == folder:
                found.append((process / "cmdline").read_text())
        except OSError:  # it has ended, or is another user's
            continue
    return found
