"""Stage sparse: train with one sparse-training method.

    python -m pipeline.sparse [dataset=D] [model=M] [method=SECTION] [sparsity=S] [seed=N] [out=DIR]
                              [section.key=value ...]

Keys left out are the first entries of the grid in params.yaml. With section.key=value overrides the results go to
scratch/sparse/<run>, else to runs/sparse/<run>.
"""

import sys

from torch import nn

from granet.methods import Method
from pipeline.cli import run_main
from pipeline.runs import Start, run_stage


def start(given: Start) -> tuple[nn.Module, Method]:
    """A fresh model and the method of the cell's section."""
    cell = given.cell
    assert cell.method is not None and cell.sparsity is not None
    method = given.params.method(cell.method, cell.sparsity, given.steps_per_epoch)
    return given.build(cell.seed), method


if __name__ == "__main__":
    run_main(lambda arguments: run_stage("sparse", arguments, start), __doc__, sys.argv[1:])
