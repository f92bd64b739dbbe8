"""Train one run of a stage.

    python -m pipeline.train STAGE [key=value ...] [out=DIR] [section.key=value ...]

STAGE      keys                                       what it trains
dense      dataset model seed                         the dense baseline
sparse     dataset model method sparsity seed         one sparse-training method from new weights
after      dataset model method sparsity seed         the trained dense network, pruned (one-shot, IMP, SIS)
reinit     dataset model method sparsity seed         a sparse run's final mask from new weights (Figure 4)
retrain    dataset model method sparsity seed rewind  the mask from initial (rewind=lth) or final weights (lrr)
pretrain   dataset model network seed                 a network of the plasticity study: element-0.9, filter-0.5

A method is a section of params.yaml. Keys left out are the first entries of the grid there. After, reinit and retrain
need the finished run that they start from, in runs/. With section.key=value overrides the results go to
scratch/STAGE/<run>, else to runs/STAGE/<run>. An interrupted run goes on from its last finished epoch.
"""

import sys

from granet.types import UserError
from pipeline import cli
from pipeline.training.cell import run_of
from pipeline.training.run import train
from pipeline.training.stages import STAGES

TRAINED = [name for name, stage in STAGES.items() if stage.start is not None]


def main(arguments: list[str]) -> None:
    """Train one run."""
    stage, *others = arguments or [""]
    if stage not in TRAINED:
        raise UserError(f"{stage!r} is no stage that trains; write one of {', '.join(TRAINED)} first")
    cell, params, out = run_of(stage, others)
    train(cell, params, out, arguments)


if __name__ == "__main__":
    cli.run_main(main, __doc__, sys.argv[1:])
