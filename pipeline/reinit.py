"""Stage reinit: keep a sparse run's final mask, draw new random weights, train again (Section 4.6, Figure 4).

    python -m pipeline.reinit [dataset=D] [model=M] [method=SECTION] [sparsity=S] [seed=N] [out=DIR]
                              [section.key=value ...]

Needs the sparse run of the same cell in runs/sparse. Keys left out are the first entries of the grid in params.yaml.
With section.key=value overrides the results go to scratch/reinit/<run>, else to runs/reinit/<run>.
"""

import sys

from granet.methods import fixed
from granet.retrain import reinit
from pipeline.cli import run_main
from pipeline.training.run import Setup, Start, run_stage


def start(given: Start) -> Setup:
    """New weights under the old mask."""
    return Setup(reinit(given.build, given.cell.seed), fixed(given.masks()))


if __name__ == "__main__":
    run_main(lambda arguments: run_stage("reinit", arguments, start), __doc__, sys.argv[1:])
