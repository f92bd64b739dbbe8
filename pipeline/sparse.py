"""Stage sparse: train with one sparse-training method.

    python -m pipeline.sparse [dataset=D] [model=M] [method=SECTION] [sparsity=S] [seed=N] [out=DIR]
                              [section.key=value ...]

Keys left out are the first entries of the grid in params.yaml. With section.key=value overrides the results go to
scratch/sparse/<run>, else to runs/sparse/<run>.
"""

import sys

from pipeline.cli import run_main
from pipeline.training.run import Setup, Start, run_stage


def start(given: Start) -> Setup:
    """A fresh model and the method of the cell's section."""
    return Setup(given.build(given.cell.seed), given.method())


if __name__ == "__main__":
    run_main(lambda arguments: run_stage("sparse", arguments, start), __doc__, sys.argv[1:])
