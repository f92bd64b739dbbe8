"""What MLflow has not got yet, since its server was down or tracking.offline is true.

    python -m pipeline.tracking            list it
    python -m pipeline.tracking sync       send it, to $MLFLOW_TRACKING_URI or the workspace's own database

Nothing is sent twice. The next run sends it, too.
"""

import sys

from granet.types import UserError
from pipeline.cli import run_main
from pipeline.tracking.journal import STAGE, unsent


def main(arguments: list[str]) -> None:
    """List, or send."""
    if arguments not in ([], ["sync"]):
        raise UserError(f"{' '.join(arguments)!r} is no argument of tracking; write nothing, or: sync")
    if arguments:
        from pipeline.tracking.sending import sync

        sync()
    for store in unsent():
        print(f"{(store / STAGE).read_text()}: not all is sent")


if __name__ == "__main__":
    run_main(main, __doc__, sys.argv[1:])
