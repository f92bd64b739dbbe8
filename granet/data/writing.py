"""FFCV's writer, in this process and its own memory, and without a progress bar. Imports FFCV.

FFCV's own starts worker processes, and waits forever for one that died. What they share lies in /dev/shm; where that is
small, as in containers, the first write beyond it ends the process (SIGBUS). One worker that runs right here writes the
same bytes, and its error reaches the caller.
"""

import queue
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

from ffcv import memory_allocator, writer
from ffcv.memory_allocator import MemoryAllocator


class _Memory:
    """What FFCV asks of a SharedMemory."""

    def __init__(self, create: bool, size: int) -> None:
        self.buf = memoryview(bytearray(size))


class _Value:
    """What FFCV asks of multiprocessing's Value."""

    def __init__(self, kind: object, value: int) -> None:
        self.value = value

    def get_lock(self) -> AbstractContextManager[None]:
        return nullcontext()


@contextmanager
def _own_memory() -> Iterator[None]:
    """In this FFCV shares nothing with other processes."""
    kept = writer.shared_memory, memory_allocator.Value
    writer.shared_memory, memory_allocator.Value = SimpleNamespace(SharedMemory=_Memory), _Value  # pyright: ignore
    try:
        yield
    finally:
        writer.shared_memory, memory_allocator.Value = kept


class Writer(writer.DatasetWriter):
    """FFCV's writer with one worker, in this process."""

    def _write_common(
        self,
        num_samples: int,
        queue_content: Iterable[Any],
        work_fn: Callable[..., None],
        extra_worker_args: tuple[Any, ...],
    ) -> None:
        self.num_samples = num_samples
        with _own_memory():
            self.prepare()
            allocator = MemoryAllocator(self.fname, self.data_region_start, self.page_size)
        metadata: Any = self.metadata_sm
        chunks: queue.SimpleQueue = queue.SimpleQueue()
        allocations: queue.SimpleQueue = queue.SimpleQueue()
        for chunk in (*queue_content, None):  # None: no more
            chunks.put(chunk)
        types, num_done = self.metadata_type, _Value(int, 0)
        work_fn(chunks, metadata, types, self.fields, allocator, num_done, allocations, *extra_worker_args)
        self.finalize(allocations.get())
