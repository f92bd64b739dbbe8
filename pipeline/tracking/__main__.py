"""What MLflow has not got yet, since its server was down or tracking.offline is true.

    python -m pipeline.tracking            list it
    python -m pipeline.tracking sync       send it, to $MLFLOW_TRACKING_URI or the workspace's own database
    python -m pipeline.tracking register [alias=best] [experiment=NAME]

Nothing is sent twice. The next run sends it, too. register puts the best model of every cell of the tables into
MLflow's registry, a registered model each, under an alias: of the seeds the one with the highest accuracy on held-out
images where the data set has some, else on the test images. experiment is tracking.experiment of params.yaml.
"""

import sys

from granet.types import UserError
from pipeline.cli import parse, run_main
from pipeline.tracking.journal import STAGE, unsent


def main(arguments: list[str]) -> None:
    """List, send, or register."""
    if arguments[:1] == ["register"]:
        register(arguments[1:])
        return
    if arguments not in ([], ["sync"]):
        raise UserError(
            f"{' '.join(arguments)!r} is no argument of tracking; write nothing, sync or register"
        )
    if arguments:
        from pipeline.tracking.sending import sync

        sync()
    for store in unsent():
        print(f"{(store / STAGE).read_text()}: not all is sent")


def register(arguments: list[str]) -> None:
    """Register the best models of an experiment, and say which they are."""
    values, _ = parse(arguments, ("alias", "experiment"), "tracking register")
    from pipeline.params.files import load_grid
    from pipeline.tracking.server import register_best

    experiment = values.get("experiment") or load_grid().tracking.experiment
    for cell, version, run in register_best(experiment, values.get("alias", "best")):
        print(f"{cell} version {version}: {run}")


if __name__ == "__main__":
    run_main(main, __doc__, sys.argv[1:])
