"""One run in several processes: a stage starts itself again under the launcher that torchrun is made of."""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

from granet.common.distributed import own_threads
from granet.types import UserError

BAD_INPUT = 2
"""The exit status of a stage that refuses what it is told."""


def spread(module: str, arguments: Sequence[str], num_processes: int) -> None:
    """Run ``python -m module arguments`` as the processes of one run on this machine, and wait for them.

    When one of them ends badly, the others are stopped at once. Raises UserError, which names that one.
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
        run_id=module,
        max_restarts=0,
        monitor_interval=0.5,
    )
    try:
        elastic_launch(config, sys.executable)("-m", module, *arguments)
    except SignalException:
        raise KeyboardInterrupt from None  # the processes have been stopped
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        code = failure.exitcode
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"
        again = "run the same command again to go on after the last finished epoch"
        remedy = "see its line above" if code == BAD_INPUT else again
        raise UserError(
            f"process {rank} of {num_processes} {how}, so the others were stopped; {remedy}"
        ) from None


def end_with_parent() -> None:
    """Have this process killed as soon as the launcher that started it is gone (Linux): it is in no group of ours."""
    if sys.platform == "linux":
        parent_dies = 1  # PR_SET_PDEATHSIG
        ctypes.CDLL(None).prctl(parent_dies, signal.SIGKILL)
