"""--executor slurm on a real Slurm of one node, where one can be started."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from granet.types import UserError
from pipeline.launch import slurm
from pipeline.launch.job import RefusedError
from pipeline.launch.slurm import SlurmExecutor, job_parameters
from pipeline.params.checks import section_of
from pipeline.params.schema import LaunchConfig
from tests.helpers.project import ROOT, SMALL, Project
from tests.helpers.slurm import slurm as running_slurm
from tests.helpers.waiting import exit_code, until

GRID = ("grid.methods=[gmp]", "grid.reinit=[]", "grid.retrain=[]")
RECIPE = (*SMALL, *GRID, "launch.gpus=0", "launch.cpus=1", "launch.minutes=10")
STAGES = 4  # prepare, dense, sparse, report
DENSE = "dense@digits-resnet20-0"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """SLURM_CONF names a Slurm that runs until the module's end."""
    with (
        running_slurm(tmp_path_factory.mktemp("slurm")) as conf,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("SLURM_CONF", str(conf))
        yield


@pytest.fixture
def scripts(cluster, monkeypatch, tmp_path):
    """Stages are Python scripts by name, in an empty folder; jobs import this checkout."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(slurm, "POLL_S", 0.5)
    monkeypatch.setattr(slurm, "PATIENCE_S", 2.0)
    codes: dict[str, str] = {}
    monkeypatch.setattr(slurm, "stage_command", lambda stage: [sys.executable, "-c", codes[stage]])
    return codes


def queue():
    """Ids and states of the jobs that have not ended."""
    return subprocess.run(["squeue", "--noheader"], capture_output=True, text=True, check=True).stdout


CPU = LaunchConfig(gpus=0, cpus=1, minutes=1)


@pytest.mark.usefixtures("cluster")
def test_a_recipe_goes_through_slurm(tmp_path):
    project = Project(tmp_path)
    project.params(*RECIPE)
    done = project.python("pipeline.launch", "--executor", "slurm")
    assert f"{STAGES} of {STAGES + 1} stages to run" in done.stdout  # the digests of the code are made here
    assert f"\n{STAGES} done in " in done.stdout
    assert f"log logs/{DENSE}.log" in done.stdout
    assert "epoch   2/2" in (project.folder / f"logs/{DENSE}.log").read_text()
    assert (project.folder / "reports/report.html").exists()
    assert not list((project.folder / "logs").glob("slurm-*"))
    assert project.stale() == set()

    project.params(*RECIPE, "train.epochs=500")
    started = project.start("python", "-m", "pipeline.launch", "--executor", "slurm", "dense")
    log = project.folder / f"logs/{DENSE}.log"
    until(lambda: log.exists() and "/500  loss" in log.read_text())
    os.kill(started.pid, signal.SIGINT)
    printed, _ = started.communicate(timeout=60)
    assert started.returncode == 130, printed
    assert "interrupted; run the same command again" in log.read_text()  # the run ended by itself
    until(lambda: queue() == "")

    project.params(*RECIPE, "launch.partition=nowhere")
    done = project.python("pipeline.launch", "--executor", "slurm", "report", check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: sbatch refuses the job of ")
    assert "nowhere" in done.stderr or "invalid partition" in done.stderr
    assert done.stderr.count("\n") == 1


def test_output_and_exit_code_of_a_job_come_back(scripts):
    scripts |= {
        "well": "import os; print('threads', os.environ['OMP_NUM_THREADS'])",
        "ill": "raise SystemExit(3)",
    }
    executor = SlurmExecutor(CPU)
    jobs = [executor.start(name) for name in scripts]
    assert [exit_code(job) for job in jobs] == [0, 3]
    assert "\nthreads " in jobs[0].log.read_text()
    executor.stop()
    assert list(Path("logs").glob("slurm-*")) == []


def test_a_job_that_is_cancelled_counts_as_failed(scripts):
    scripts["a"] = "import time; print('up', flush=True); time.sleep(100)"
    executor = SlurmExecutor(CPU)
    job = executor.start("a")
    assert job.queued
    until(lambda: job.log.exists() and "up" in job.log.read_text())
    subprocess.run(["scancel", job.job_id], check=True)
    assert exit_code(job) == -signal.SIGTERM
    assert "CANCELLED" in job.log.read_text()


def test_a_job_that_leaves_no_exit_code_counts_as_failed(scripts):
    scripts["a"] = "import os, signal; os.kill(os.getppid(), signal.SIGKILL)"
    job = SlurmExecutor(CPU).start("a")
    assert exit_code(job) == 1
    assert job.where == f"job {job.job_id} FAILED"


def test_a_job_whose_time_is_over_is_queued_again_and_goes_on(scripts, monkeypatch):
    scripts["a"] = """
import pathlib, signal, sys, time
state = pathlib.Path("state")
if state.exists():
    print("went on from", state.read_text(), flush=True)
    raise SystemExit
def write(*_):
    state.write_text("step 7")
    sys.exit(130)
signal.signal(signal.SIGINT, write)
time.sleep(100)
"""
    executor = SlurmExecutor(CPU)
    executor._seconds = 3.0  # of a minute
    job = executor.start("a")
    until(lambda: Path("state").exists())
    until(lambda: job.poll() is None and job.queued)
    # Slurm lets a requeued job wait for two minutes, as a node refuses its start in the second in which it ended
    time.sleep(3)
    subprocess.run(["scontrol", "update", f"JobId={job.job_id}", "StartTime=now"], check=True)
    assert exit_code(job) == 0
    assert "went on from step 7" in job.log.read_text()
    executor.stop()


def test_stop_cancels_what_runs_and_what_waits(scripts):
    scripts["a"] = "import time; time.sleep(100)"
    executor = SlurmExecutor(CPU)
    jobs = [executor.start("a") for _ in range(2 + (os.cpu_count() or 1))]
    assert len(queue().splitlines()) == len(jobs)
    executor.stop()
    until(lambda: queue() == "")


def test_what_a_job_asks_for():
    config = LaunchConfig(partition="gpu", minutes=90, gpus=2, cpus=8, memory_gb=32)
    asked = {"partition": "gpu", "time": 90, "cpus_per_task": 8, "mem": "32GB"}
    assert asked.items() <= job_parameters(config).items()
    assert set(job_parameters(CPU)) == {"use_srun", "stderr_to_stdout", "time", "cpus_per_task"}


@pytest.mark.parametrize(
    ("gpus", "num_processes", "line"),
    [
        (None, 1, "--gpus-per-node=1"),
        (None, 4, "--gpus-per-node=4"),
        (8, 4, "--gpus-per-node=8"),
        (0, 4, None),
    ],
)
def test_a_run_asks_for_a_gpu_per_process(monkeypatch, tmp_path, gpus, num_processes, line):
    """In sbatch's own words; it is not started, because no GPU may be here. Preparing and reporting ask for none."""
    import submitit
    from submitit.core.utils import FailedJobError

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", classmethod(lambda cls: 1))
    scripts = []

    def submitted(executor, *arguments):
        scripts.append(executor._make_submission_file_text("command", "uid"))
        raise FailedJobError("enough")

    monkeypatch.setattr(submitit.SlurmExecutor, "submit", submitted)
    executor = SlurmExecutor(LaunchConfig(gpus=gpus), num_processes)
    for stage in ("prepare@digits", "sparse@digits", "report"):
        with pytest.raises(RefusedError, match="enough"):
            executor.start(stage)
    found = [re.findall(r"--gpus-per-node=\d+", script) for script in scripts]
    assert found == [[], [line] if line else [], []]


def test_a_run_on_the_cpu_asks_for_no_gpu(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: name)
    assert SlurmExecutor(LaunchConfig(), 4, on_gpus=False)._gpus == 0


def test_fewer_gpus_than_processes_are_refused():
    with pytest.raises(
        UserError, match=r"launch.gpus=2 is less than train.num_processes=4.*write gpus: null"
    ):
        SlurmExecutor(LaunchConfig(gpus=2), 4)


def test_without_submitit_one_line_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match="needs the package submitit; run: pip install"):
        SlurmExecutor(CPU)


def test_without_slurm_one_line_says_so(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="needs Slurm's command sbatch"):
        SlurmExecutor(CPU)


@pytest.mark.parametrize("key", ["runs_per_gpu=0", "minutes=0", "gpus=-1", "cpus=0", "memory_gb=0"])
def test_resources_that_cannot_be_are_refused(key):
    name, _, value = key.partition("=")
    with pytest.raises(UserError, match=f"launch.{name}={value} must be at least"):
        section_of("launch", LaunchConfig, {name: int(value)})
