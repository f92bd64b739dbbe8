"""What DVC says of the pipeline: which stage needs which, and which are out of date."""

import logging
import os
import subprocess

from granet.types import UserError
from pipeline.launch.job import log_path, stage_command, stage_environment
from pipeline.launch.plan import Needs
from pipeline.launch.view import last_lines

CODE = "code"
"""The stage that every other one needs: its digests tell whether a change of the code changes anything for them."""


def read_pipeline() -> tuple[Needs, set[str]]:
    """All stages with what each needs, and those that are out of date by themselves, after `CODE` has been run.

    Raises UserError with DVC's own first line, also where another DVC process is writing what must be compared.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.ERROR)  # it warns when it tidies up after a killed process
    try:
        with Repo(_wait_for_lock=True) as repo:
            graph = repo.index.graph  # edges lead from a stage to what it needs
            needs = {
                stage.addressing: frozenset(needed.addressing for needed in graph.successors(stage))
                for stage in graph
            }
            if CODE not in needs or not repo.status(targets=[CODE]):
                return needs, set(repo.status())
        update_code()
        with Repo(_wait_for_lock=True) as repo:
            return needs, set(repo.status())
    except DvcException as error:
        raise UserError(f"DVC: {str(error).splitlines()[0]}") from None


def update_code() -> None:
    """Run the stage `CODE` here and now. Raises UserError with the last line of its log where it fails."""
    log = log_path(CODE)
    environment = {**os.environ, **stage_environment(None)}
    with log.open("wb") as file:
        done = subprocess.run(
            stage_command(CODE), env=environment, stdout=file, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode:
        reason = " ".join(last_lines(log, 1)) or f"exit code {done.returncode}"
        raise UserError(f"the stage {CODE} failed: {reason.removeprefix('ERROR: ')}; see {log}")
    print(f"{CODE}: brought up to date", flush=True)
