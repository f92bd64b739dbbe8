"""Stage after: prune the trained dense network, and train on (one-shot, IMP, SIS).

    python -m pipeline.after [dataset=D] [model=M] [method=SECTION] [sparsity=S] [seed=N] [out=DIR]
                             [section.key=value ...]

Needs the dense run of the same data set, model and seed in runs/dense. Keys left out are the first entries of the grid
in params.yaml, the method that of grid.after. With section.key=value overrides the results go to scratch/after/<run>,
else to runs/after/<run>.
"""

import sys

from pipeline.cli import run_main
from pipeline.training.run import Setup, Start, run_stage


def start(given: Start) -> Setup:
    """The dense run's final weights and the method of the cell's section; a rewind goes to its initial weights."""
    method = given.method()
    model = given.build(given.cell.seed)
    initial = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(given.final())
    return Setup(model, method, rewind_to=initial)


if __name__ == "__main__":
    run_main(lambda arguments: run_stage("after", arguments, start), __doc__, sys.argv[1:])
