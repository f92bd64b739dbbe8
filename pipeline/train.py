"""Train one run of a stage.

    python -m pipeline.train STAGE [key=value ...] [out=DIR] [section.key=value ...]

STAGE      keys                                       what it trains
dense      dataset model seed                         the dense baseline
sparse     dataset model method sparsity seed         one sparse-training method from new weights
after      dataset model method sparsity seed         the trained dense network, pruned (one-shot, OBD, IMP, SIS)
chain      dataset model method seed [sparsity]       the same through all of the grid's sparsities, one after another
member     dataset model method sparsity seed member  one of the retrainings that a soup is the mean of
reinit     dataset model method sparsity seed         a sparse run's final mask from new weights (Figure 4)
retrain    dataset model method sparsity seed rewind  the mask from initial (rewind=lth) or final weights (lrr)
pretrain   dataset model network seed                 a network of the plasticity study: element-0.9, filter-0.5

A method is a section of params.yaml. Keys left out are the first entries of the grid there. After, chain, member,
reinit and retrain need the finished run that they start from, in runs/. With section.key=value overrides the results go
to scratch/STAGE/<run>, else to runs/STAGE/<run>. An interrupted run goes on where it was: Ctrl-C and SIGTERM write
its state after the next step, and a kill costs train.checkpoint_s seconds at most (several processes: the epoch).
"""

import ctypes
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from granet.common.distributed import num_started, own_threads
from granet.common.files import made
from granet.types import UserError
from pipeline import cli
from pipeline.params.chains import links
from pipeline.params.schema import Params
from pipeline.training.cell import Cell, run_of
from pipeline.training.run import check_recorded, is_there, train
from pipeline.training.stages import STAGES

TRAINED = [name for name, stage in STAGES.items() if stage.start is not None]
FAILED = 1
"""The exit status of a run that diverged, or met a fault of the machine or the program."""


def main(arguments: list[str]) -> None:
    """Train one run, here or in as many processes as train.num_processes says."""
    stage, *others = arguments or [""]
    if stage not in TRAINED:
        raise UserError(f"{stage!r} is no stage that trains; write one of {', '.join(TRAINED)} first")
    cell, params, out = run_of(stage, others)
    if (along := STAGES[stage].along) and not any(text.startswith(f"{along}=") for text in others):
        for sparsity in chain(cell, params, out):
            main([*arguments, f"{along}={sparsity}"])
        check_recorded(cell, params, out)
        return
    wanted, started = params.train.num_processes, num_started()
    if wanted > 1 and started == 1:
        spread(arguments, wanted)
        check_recorded(cell, params, out)
        return
    if wanted != started:  # it decides about the result, and is recorded with it
        raise UserError(
            f"train.num_processes={wanted}, but torchrun has started {started}; write train.num_processes={started}"
        )
    if (
        started > 1 and sys.platform == "linux"
    ):  # end with the launcher: this process is in no group of its own
        parent_dies = 1  # PR_SET_PDEATHSIG
        ctypes.CDLL(None).prctl(parent_dies, signal.SIGKILL)
    train(cell, params, made(out))
    if started == 1:
        check_recorded(cell, params, out)


def chain(cell: Cell, params: Params, out: Path) -> Iterator[float]:
    """The sparsities of a chain whose runs are not there yet, in their order. In runs/, others are removed."""
    for folder in out.parent.glob("0.*") if out == cell.folder else ():
        if folder.name not in map(str, params.grid.sparsities):
            shutil.rmtree(folder)
    for begun, sparsity in links(params.grid.sparsities):
        link = replace(cell, begun=begun, sparsity=sparsity)
        if is_there(link, params, out.with_name(str(sparsity))):
            print(f"{link.name}: is there already", flush=True)
        else:
            yield sparsity


def spread(arguments: Sequence[str], num_processes: int) -> None:
    """Run this command as the processes of one run on this machine, by the launcher that torchrun is made of.

    When one of them ends badly, the others are stopped at once. Raises UserError, which names that one; exits with 1
    where that one did, which has said why.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # Two processes with all threads each are several times slower than in turn.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, own_threads() // num_processes)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=num_processes,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        run_id="pipeline.train",
        max_restarts=0,
        monitor_interval=0.5,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "pipeline.train", *arguments)
    except SignalException:
        raise KeyboardInterrupt from None  # the processes have been stopped
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        code = failure.exitcode
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"
        again = "run the same command again to go on after the last finished epoch"
        remedy = again if code < 0 else "see its line above"
        line = f"process {rank} of {num_processes} {how}, so the others were stopped; {remedy}"
        if code == FAILED:
            sys.exit(f"error: {line}")  # with 1
        raise UserError(line) from None


if __name__ == "__main__":
    cli.run_main(main, __doc__, sys.argv[1:])
