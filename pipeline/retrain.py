"""Stage retrain: keep a sparse run's final mask and train again from rewound weights (Section 4.7, Table 6).

    python -m pipeline.retrain [dataset=D] [model=M] [method=SECTION] [sparsity=S] [seed=N] [rewind=lth|lrr] [out=DIR]
                               [section.key=value ...]

lth: the run's own initial weights (lottery ticket); lrr: its final weights, so that only the learning rate is rewound.
Needs the sparse run of the same cell in runs/sparse. Keys left out are the first entries of the grid in params.yaml.
With section.key=value overrides the results go to scratch/retrain/<run>, else to runs/retrain/<run>.
"""

import sys

from granet.methods import fixed
from granet.retrain import REWINDS
from granet.types import UserError
from pipeline.cli import run_main
from pipeline.training.run import Setup, Start, run_stage


def start(given: Start) -> Setup:
    """Rewound weights under the old mask."""
    rewind = given.cell.rewind
    if rewind not in REWINDS:
        raise UserError(f"rewind={rewind!r} is unknown; choose from {', '.join(REWINDS)}")
    return Setup(REWINDS[rewind](given.build, given.cell.seed, given.final()), fixed(given.masks()))


if __name__ == "__main__":
    run_main(lambda arguments: run_stage("retrain", arguments, start), __doc__, sys.argv[1:])
