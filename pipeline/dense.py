"""Stage dense: train the dense baseline.

    python -m pipeline.dense [dataset=D] [model=M] [seed=S] [out=DIR] [section.key=value ...]

Keys left out are the first entries of the grid in params.yaml. With section.key=value overrides the results go to
scratch/dense/<run>, else to runs/dense/<run>.
"""

import sys

from granet.methods import METHODS
from pipeline.cli import run_main
from pipeline.training.run import Setup, Start, run_stage


def start(given: Start) -> Setup:
    """A fresh model without masks."""
    return Setup(given.build(given.cell.seed), METHODS["dense"]())


if __name__ == "__main__":
    run_main(lambda arguments: run_stage("dense", arguments, start), __doc__, sys.argv[1:])
