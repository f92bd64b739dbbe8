"""Run all stages that are out of date, one after another, by `dvc repro --keep-going`, and say what is left.

    python -m pipeline.repro

A stage that fails stops only what depends on it; the exit code is then 1. Ctrl-C ends the stage that runs, and starts
no other; the same command goes on with them.
"""

import signal
import subprocess
import sys
import time

from granet.types import UserError
from pipeline.cli import run_main
from pipeline.launch.plan import no_report, plan, read_pipeline

COMMAND = [sys.executable, "-m", "dvc", "repro", "--keep-going"]
AGAIN_S = 0.05


def main(arguments: list[str]) -> None:
    """Reproduce; exits with 1 where a stage failed."""
    if arguments:
        raise UserError(
            f"{arguments[0]!r}: this command takes no arguments; for single stages: dvc repro STAGE"
        )
    if reproduce() == 0:
        return
    needs, stale = read_pipeline()
    left = plan(needs, stale, set(needs))
    failed = [stage for stage, needed in left.items() if not needed]
    print(f"\n{len(failed)} failed, for the reason above: {', '.join(failed)}")
    print(no_report(set(left) - set(failed)), end="")
    sys.exit(1)


def reproduce() -> int:
    """Run DVC and return its exit code.

    For DVC a stage that Ctrl-C has ended has failed, and it would go on with the next one. It does not listen while a
    stage runs: so it is told until it ends.
    """
    process = subprocess.Popen(COMMAND)
    try:
        return process.wait()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            time.sleep(AGAIN_S)
        raise


if __name__ == "__main__":
    run_main(main, __doc__, sys.argv[1:])
