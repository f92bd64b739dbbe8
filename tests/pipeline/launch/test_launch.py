"""python -m pipeline.launch with real DVC: the same results as `dvc repro`, and what becomes of failures and Ctrl-C."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.helpers.project import SMALL, Project
from tests.helpers.waiting import until

CELL = "digits-resnet20"
GMP, GRANET = f"sparse@{CELL}-gmp-0.98-0", f"sparse@{CELL}-granet-0.98-0"
REINIT = f"reinit@{CELL}-gmp-0.98-0"
RECIPE = (
    *SMALL,
    *("train.precision=fp32", "grid.methods=[gmp,granet]", "grid.reinit=[gmp]", "grid.retrain=[]"),
)

NO_REPORT = "\nReport   not made, as it needs all stages; of the runs that are there: dvc repro -s report\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A small recipe in a clone, launched once; what that printed is in its folder as `launched`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # another number of threads may change the last bits
        project = Project(tmp_path_factory.mktemp("launch"))
        project.params(*RECIPE)
        project.commit("small recipe")
        done = project.python("pipeline.launch", "-j", "2")
        (project.folder / "logs/launched").write_text(done.stdout)
        yield project


def results(project):
    """Metrics, weights and masks of all runs, as bytes."""
    folder = project.folder / "runs"
    files = [*folder.rglob("metrics.json"), *folder.rglob("*.safetensors")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_launch_gives_the_same_results_as_dvc_repro(project, tmp_path):
    plain = Project(tmp_path)
    plain.params(*RECIPE)
    plain.run("dvc", "repro", REINIT)
    assert len(results(plain)) == 3 * 2  # the retrained network and the sparse run that its mask is of
    assert results(plain).items() <= results(project).items()
    assert len(results(project)) == 3 * 4
    printed = (project.folder / "logs/launched").read_text()
    assert printed.startswith("code: brought up to date\n6 of 7 stages to run, 2 at a time\n")
    assert printed.count("\ndone ") == 6
    assert "\n6 done in " in printed


def test_a_second_launch_has_nothing_to_do(project):
    started = time.monotonic()
    done = project.python("pipeline.launch", "-j", "2")
    assert done.stdout == "nothing to do: all stages are up to date\n"
    assert time.monotonic() - started < 15
    assert project.run("git", "status", "--short").stdout.split() == ["??", "dvc.lock"]


def test_without_anything_to_do_nothing_is_imported_but_dvc(project):
    code = (
        "import sys; from pipeline.launch.__main__ import launch; launch([]); "
        "print(sorted({'torch', 'granet', 'mlflow', 'numpy', 'dvc'} & set(sys.modules)))"
    )
    done = project.run("python", "-c", code)
    assert done.stdout == "nothing to do: all stages are up to date\n['dvc']\n"


def test_a_comment_in_the_code_runs_nothing_but_its_digests(project):
    file = project.folder / "granet/update.py"
    file.write_text(f"# what drops and what grows\n{file.read_text()}")
    done = project.python("pipeline.launch")
    assert done.stdout == "code: brought up to date\nnothing to do: all stages are up to date\n"


def test_an_unknown_target_gets_one_line(project):
    done = project.python("pipeline.launch", "dnse", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: 'dnse' is no stage, nor the beginning of one (code, prepare, dense, sparse, reinit, report); "
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
    broken = before.replace("pipeline.train reinit", "pipeline.train reinit width=2")
    assert broken != before
    project.params(*RECIPE, "granet.drop_fraction=0.3")
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
    assert "\n    error: 'width=2' is no argument of the reinit stage; " in done.stdout
    assert "\n1 done, 1 failed, 1 skipped in " in done.stdout
    assert done.stdout.endswith(NO_REPORT)
    again = project.python("pipeline.launch")  # mended: reinit comes back from DVC's cache
    assert stages_of(again.stdout, "done") == {REINIT, "report"}
    assert "nothing to run" in again.stdout


def test_a_run_that_diverges_lets_the_others_go_on(project):
    """A random walk of 1e38: its loss is NaN, here and in the launcher, at the same step."""
    deep_r = f"sparse@{CELL}-deep_r-0.98-0"
    changes = ("grid.methods=[deep_r,gmp,granet]", "deep_r.noise=1e38", "granet.drop_fraction=0.2")
    project.params(*RECIPE, *changes)
    done = project.python("pipeline.launch", check=False)
    assert done.returncode == 1
    assert stages_of(done.stdout, "done") == {GRANET}
    assert stages_of(done.stdout, "failed") == {deep_r}
    assert done.stdout.endswith(NO_REPORT)
    (line,) = re.findall(r"error: .*", (project.folder / f"logs/{deep_r}.log").read_text())
    assert (
        "the training loss is nan in epoch 1 (step 2, train.lr=0.1, precision fp32); lower train.lr" in line
    )
    assert f"\n    {line}\n" in done.stdout
    again = project.python("pipeline.launch", check=False)
    assert again.returncode == 1
    assert again.stdout.endswith(NO_REPORT)
    assert stages_of(again.stdout, "done") == set()
    assert project.run("dvc", "repro", "-s", "report").returncode == 0
    assert "4 of 5 runs of the grid are in this report" in (project.folder / "reports/report.md").read_text()


def stages_of(printed, event):
    return {line.split()[1] for line in printed.splitlines() if line.startswith(f"{event} ")}


def test_ctrl_c_ends_the_runs_and_the_same_command_goes_on(project):
    """One target of a longer recipe, interrupted after its first checkpoint."""
    project.params(*RECIPE, "train.epochs=12")
    command = ["python", "-m", "pipeline.launch", "-j", "2", GMP]
    started = project.start(*command)
    until(
        lambda: [path for path in project.folder.glob(".checkpoints/*/last.pt") if is_unfinished(path)],
        seconds=60,
    )
    os.kill(started.pid, signal.SIGINT)
    printed, _ = started.communicate(timeout=60)
    assert started.returncode == 130, printed
    assert printed.endswith("interrupted; run the same command again to go on\n")
    assert running_in(project.folder) == []
    done = project.run(*command)
    assert stages_of(done.stdout, "done") == {GMP}  # and no other target
    assert "goes on after epoch" in (project.folder / f"logs/{GMP}.log").read_text()


def is_unfinished(checkpoint):
    """Runs that DVC has not recorded yet have left theirs, too."""
    return not (checkpoint.parent / "finished").exists()


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
