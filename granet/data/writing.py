"""What we add to FFCV's writer: it writes in this process, and without a progress bar. Imports FFCV.

FFCV's own starts worker processes, and waits forever for one that died. One worker that runs right here writes the
same bytes, and its error reaches the caller.
"""

import queue
from collections.abc import Callable, Iterable
from multiprocessing import Value
from typing import Any

from ffcv.memory_allocator import MemoryAllocator
from ffcv.writer import DatasetWriter


class Writer(DatasetWriter):
    """FFCV's writer with one worker, in this process."""

    def _write_common(
        self,
        num_samples: int,
        queue_content: Iterable[Any],
        work_fn: Callable[..., None],
        extra_worker_args: tuple[Any, ...],
    ) -> None:
        self.num_samples = num_samples
        self.prepare()
        metadata: Any = self.metadata_sm
        try:
            chunks: queue.SimpleQueue = queue.SimpleQueue()
            allocations: queue.SimpleQueue = queue.SimpleQueue()
            for chunk in (*queue_content, None):  # None: no more
                chunks.put(chunk)
            allocator = MemoryAllocator(self.fname, self.data_region_start, self.page_size)
            types, num_done = self.metadata_type, Value("Q")
            work_fn(
                chunks, metadata, types, self.fields, allocator, num_done, allocations, *extra_worker_args
            )
            self.finalize(allocations.get())
            metadata.close()
        finally:
            metadata.unlink()
