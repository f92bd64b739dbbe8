"""python -m pipeline.launch. Without targets or options it first asks whether there is anything to do at all."""

import sys
from functools import partial

from pipeline.launch import stale


def launch(arguments: list[str]) -> None:
    """Say that nothing is out of date, or import all that a launch needs, and launch."""
    found = None
    if not arguments:
        try:
            found = stale.look()
        except Exception:
            found = None
        if found and not found[1]:
            print(stale.NOTHING)
            return
    from pipeline.cli import run_main
    from pipeline.launch import command

    run_main(partial(command.main, found=found), command.__doc__, arguments)


if __name__ == "__main__":
    launch(sys.argv[1:])
