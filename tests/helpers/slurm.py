"""A real Slurm of one node on this machine: munged, slurmctld and slurmd, with all their files in one folder."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "sinfo")
APT = ("apt-get", "install", "-y", "-qq", "--no-install-recommends", "slurm-wlm", "munge")
START_S = 30
CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmUser=root
SlurmdUser=root
ReturnToService=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=small Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def install() -> None:
    """Slurm's and munge's Debian packages, where they are missing; skips the test where that cannot be."""
    if not (missing := [name for name in NEEDED if not shutil.which(name)]):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        pytest.skip(f"{missing[0]} is missing, and only root with apt-get can install it")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (APT, ("apt-get", "update", "-qq"), APT):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if command is APT and done.returncode == 0:
            return
    pytest.skip(f"apt-get cannot install slurm-wlm and munge: {' '.join(done.stderr.split())[-200:]}")


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def daemon(folder: Path, *command: str) -> Iterator[None]:
    """A server in the foreground of a process of ours; it is ended with the block."""
    with (folder / f"{command[0]}.log").open("wb") as log:
        environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_idle(folder: Path) -> None:
    """Until the node takes jobs; skips the test, with the servers' last words, where that does not come."""
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
    command = ["sinfo", "--noheader", "--format=%T"]
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if answer.stdout.strip() == "idle":
            return
        time.sleep(0.3)
    words = [log.read_text()[-300:] for log in sorted(folder.glob("*.log"))]
    pytest.skip(f"Slurm does not start here: {' '.join(' '.join(words).split())}")


@contextmanager
def slurm(folder: Path) -> Iterator[Path]:
    """Slurm runs while the block does; gives the slurm.conf that SLURM_CONF must name. Needs root."""
    install()
    if os.geteuid() != 0:
        pytest.skip("slurmd runs jobs only as root")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    conf = folder / "slurm.conf"
    host = socket.gethostname().partition(".")[0]
    cpus = os.cpu_count()
    conf.write_text(
        CONF.format(host=host, folder=folder, cpus=cpus, controller_port=free_port(), node_port=free_port())
    )
    munge = [f"--{name}={folder}/munge.{name.split('-')[0]}" for name in ("pid-file", "seed-file", "socket")]
    munge += [f"--key-file={key}", f"--log-file={folder}/munge.log"]
    with ExitStack() as stack:
        stack.enter_context(daemon(folder, "munged", "--foreground", "--force", *munge))
        stack.enter_context(daemon(folder, "slurmctld", "-D"))
        stack.enter_context(daemon(folder, "slurmd", "-D"))
        wait_until_idle(folder)
        yield conf
