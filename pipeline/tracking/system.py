"""What a run takes of its machine: processor, memory, GPU. Asked now and then by a thread beside the training."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

PERIOD_S = 10.0
MEGABYTE = 1 << 20


def sampler() -> Callable[[], dict[str, float]]:
    """A function that measures this process; the processor since the last call, 100 for one core kept busy."""
    import psutil
    import torch

    process = psutil.Process()
    process.cpu_percent()  # from here on

    def sample() -> dict[str, float]:
        values = {
            "system/process_cpu_percentage": process.cpu_percent(),
            "system/process_memory_megabytes": process.memory_info().rss / MEGABYTE,
        }
        if torch.cuda.is_initialized():
            values["system/process_gpu_memory_megabytes"] = torch.cuda.memory_reserved() / MEGABYTE
            with suppress(ModuleNotFoundError, RuntimeError):  # asks NVIDIA's library, which may not be there
                values["system/gpu_utilization_percentage"] = float(torch.cuda.utilization())
        return values

    return sample


@contextmanager
def watching(tell: Callable[[dict[str, float]], object], period_s: float = PERIOD_S) -> Iterator[None]:
    """``tell`` a sample every ``period_s`` seconds until the block ends, and then one more."""
    sample, is_over = sampler(), threading.Event()

    def watch() -> None:
        while not is_over.wait(period_s):
            tell(sample())

    thread = threading.Thread(target=watch, name="system metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        tell(sample())
