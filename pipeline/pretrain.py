"""Stage pretrain: train a network of the plasticity study, and keep its checkpoints of plasticity.epochs.

    python -m pipeline.pretrain [dataset=D] [model=M] [network=GRANULARITY-SPARSITY] [seed=S] [out=DIR]
                                [section.key=value ...]

network: element-0.9 has random masks over single weights, filter-0.5 over whole filters; the same share of every layer.
Keys left out are the first entries of the grid in params.yaml. With section.key=value overrides the results go to
scratch/pretrain/<run>, else to runs/pretrain/<run>.
"""

import sys

from granet.studies.plasticity import static
from pipeline.cli import run_main
from pipeline.training.run import Setup, Start, run_stage


def start(given: Start) -> Setup:
    """A fresh model under static masks."""
    assert given.cell.network is not None
    model = given.build(given.cell.seed)
    return Setup(model, static(given.cell.network, model), keep=given.params.plasticity.epochs)


if __name__ == "__main__":
    run_main(lambda arguments: run_stage("pretrain", arguments, start), __doc__, sys.argv[1:])
