"""pipeline.launch.local: processes of this machine, their devices, their threads and their end."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.launch import job as launch_job
from pipeline.launch import local
from pipeline.launch.job import stage_environment
from pipeline.launch.local import LocalExecutor, visible_devices
from tests.helpers.project import ROOT
from tests.helpers.waiting import exit_code, until


@pytest.fixture
def scripts(monkeypatch, tmp_path):
    """Stages are Python scripts by name, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    codes: dict[str, str] = {}
    monkeypatch.setattr(local, "stage_command", lambda stage: [sys.executable, "-c", codes[stage]])
    return codes


def test_output_and_exit_code_of_a_stage_are_kept(scripts):
    scripts["a@b"] = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    job = LocalExecutor(1, []).start("a@b")
    assert exit_code(job) == 3
    assert (job.log, job.log.read_text()) == (Path("logs/a@b.log"), "out\nerr\n")


def test_runs_are_spread_over_the_devices(scripts):
    scripts |= {"dense@short": "pass", "dense@long": "import time; time.sleep(60)"}
    executor = LocalExecutor(4, ["2", "5"])
    assert exit_code(executor.start("dense@short")) == 0  # it has ended: its device is free again
    jobs = [executor.start("dense@long") for _ in range(4)]
    executor.stop()
    assert [job.where for job in jobs] == ["GPU 2", "GPU 5", "GPU 2", "GPU 5"]


def test_a_run_of_several_processes_has_as_many_devices(scripts):
    scripts["dense@long"] = "import time; time.sleep(60)"
    executor = LocalExecutor(2, ["2", "5", "6", "7"], per_run=2)
    jobs = [executor.start("dense@long") for _ in range(2)]
    executor.stop()
    assert [job.where for job in jobs] == ["GPU 2,5", "GPU 6,7"]


def test_a_stage_sees_its_devices_only(scripts):
    scripts["dense@a"] = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"
    job = LocalExecutor(1, ["5", "6", "7"], per_run=2).start("dense@a")
    exit_code(job)
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
    monkeypatch.setattr(launch_job, "GRACE_S", 2.0)
    scripts["a"] = script
    executor = LocalExecutor(1, [])
    job = executor.start("a")
    until(Path("up").exists)
    executor.stop()
    assert exit_code(job) == code
    with pytest.raises(ProcessLookupError):  # nobody of the group is left
        os.killpg(job.pid, 0)


NICE = """
import sys
from pipeline.launch import local

local.stage_command = lambda stage: [sys.executable, "-m", stage]
if __name__ == "__main__":
    executor = local.LocalExecutor(2, [], many=sys.argv[1] == "many")
    assert executor.warm is None or executor.warm.is_ready(wait=True)
    job = executor.start("say_nice")
    while job.poll() is None:
        pass
    executor.stop()
    print(type(job._process).__name__, job.log.read_text())
"""
SAY_NICE = """
import time
from pathlib import Path

end = time.monotonic() + 5
while "nice 0" in (said := Path("/proc/self/autogroup").read_text()) and time.monotonic() < end:
    time.sleep(0.01)
print(said)
"""


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="this kernel has no groups by session")
@pytest.mark.parametrize(("many", "process"), [("one", "Popen"), ("many", "Adopted")])
def test_a_nice_launch_has_nice_runs_beside_other_sessions_too(tmp_path, many, process):
    (tmp_path / "say_nice.py").write_text(SAY_NICE)
    command = ["nice", "-n", "7", sys.executable, "-c", NICE, many]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.startswith(f"{process} /autogroup-") and done.stdout.endswith(
        f" nice {min(19, os.nice(0) + 7)}\n\n\n"
    ), done
