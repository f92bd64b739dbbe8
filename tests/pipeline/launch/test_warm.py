"""pipeline.launch.warm: forks that come to the same as new processes, and what there is where none can be had."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.launch import local, warm
from pipeline.launch.local import LocalExecutor
from pipeline.launch.warm import Adopted, Warm
from tests.helpers.waiting import exit_code, until

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="forks become a launcher's children on Linux alone"
)
ROOT = Path(__file__).parents[3]
MODULES = {
    "told": "import os, sys; print(sys.argv[1:], os.environ['WHO'], os.getsid(0) == os.getpid()); sys.exit(3)",
    "wrong": "import sys; print('out'); sys.exit('what is wrong')",
    "fault": "raise RuntimeError('a fault')",
    "waits": "import time; open('up', 'w').close(); time.sleep(60)",
    "deaf": "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); import waits",
    "shell": "from pipeline.launch.warm import _Commands; process = _Commands.Popen(['sh', '-c', 'echo a; echo b'])\n"
    "process.communicate(); print(type(process).__name__, process.returncode)",
    "forks": "import os\nfrom pipeline.launch.warm import _Commands\n"
    "process = _Commands.Popen(['sh', '-c', 'python -m pipeline.budgets --nonsense'], cwd='/', env={'A': 'b'})\n"
    "process.communicate(); print(type(process).__name__, process.returncode)",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of modules."""
    folder = tmp_path_factory.mktemp("modules")
    for name, code in MODULES.items():
        (folder / f"{name}.py").write_text(code)
    return folder


@pytest.fixture(scope="module")
def executor(folder):
    """One whose process is ready, in that folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PYTHONPATH", f"{ROOT}:{folder}")
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setattr(local, "stage_command", lambda stage: [sys.executable, "-m", *stage.split()])
        patch.setenv("WHO", "the launcher")
        executor = LocalExecutor(2, [], many=True)
        assert executor.warm is not None
        assert executor.warm.is_ready(wait=True)
        yield executor
        executor.stop()


@pytest.mark.parametrize(
    ("stage", "code", "printed"),
    [
        ("told a b=c", 3, "['a', 'b=c'] the launcher True\n"),
        ("wrong", 1, "out\nwhat is wrong\n"),
        ("fault", 1, "RuntimeError: a fault\n"),
        ("shell", 0, "a\nb\nPopen 0\n"),
        ("forks", 0, "_Fork 2\n"),
    ],
)
def test_a_fork_ends_as_a_new_process_does(executor, stage, code, printed):
    job = executor.start(stage)
    assert isinstance(job._process, Adopted)
    assert exit_code(job) == code
    assert job.log.read_text().endswith(printed)


@pytest.mark.parametrize(
    ("stage", "kill", "code"), [("waits", False, -signal.SIGINT), ("deaf", True, -signal.SIGKILL)]
)
def test_a_fork_is_a_group_that_can_be_ended(executor, folder, stage, kill, code):
    job = executor.start(stage)
    until((folder / "up").exists)
    (folder / "up").unlink()
    job.end(kill=kill)
    assert exit_code(job) == code


def test_another_command_gets_no_fork(executor, folder):
    with (folder / "log").open("wb") as log:
        assert executor.warm.start([sys.executable, "-c", "pass"], {}, log.fileno()) is None
        assert executor.warm.start(["/usr/bin/python3", "-m", "told"], {}, log.fileno()) is None


def test_where_the_process_is_not_there_a_stage_is_a_new_process(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("WHO", "nobody")
    monkeypatch.setattr(warm, "MODULE", "nothing.of.that.name")
    monkeypatch.setattr(local, "stage_command", lambda stage: [sys.executable, "-m", stage])
    executor = LocalExecutor(1, [], many=True)
    assert executor.warm is not None
    assert not executor.warm.is_ready(wait=True)
    job = executor.start("told")
    assert isinstance(job._process, subprocess.Popen)
    assert exit_code(job) == 3
    executor.stop()


def test_it_ends_with_its_maker_and_its_forks_go_on(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{folder}")
    process = Warm({"OMP_NUM_THREADS": "1"})
    assert process.is_ready(wait=True)
    with (folder / "log").open("wb") as log:
        fork = process.start([sys.executable, "-m", "waits"], os.environ, log.fileno())
    assert fork is not None
    until((folder / "up").exists)
    process.close()
    assert fork.poll() is None
    os.kill(fork.pid, signal.SIGKILL)
    until(lambda: fork.poll() is not None)


def test_with_several_threads_it_does_not_serve():
    """As a fork would have one of them."""
    code = (
        "import socket, threading, time; from pipeline.launch.warm import serve\n"
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "ours, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET); serve(ours)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=False).returncode == 0
