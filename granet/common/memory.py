"""How tensors lie in memory, and memory that serves again for large ones that live for a moment.

Huge pages are quick to compute with, and slow to get where memory is in use: 170 ms for 80 MB, 20 ms in pages of 4 KB.
"""

import math
import mmap
import weakref
from collections.abc import Sequence
from itertools import count
from threading import Lock

import numpy as np
import torch
from torch import Tensor

PAGE = 2 << 20
"""Bytes of a huge page. A mapping of a multiple of it is aligned to it."""
LARGE = 1 << 20
"""Bytes from which on it pays."""


def axes(tensor: Tensor) -> list[int]:
    """Its axes as they lie in memory, from the slowest on.

    >>> axes(torch.empty(2, 3, 4, 5).contiguous(memory_format=torch.channels_last))
    [0, 2, 3, 1]
    """
    return sorted(range(tensor.dim()), key=lambda axis: -tensor.stride(axis))


_free: list[tuple[int, mmap.mmap]] = []
"""Blocks of tensors that are gone, for the next ones: pages that are there need not be zeroed again. The oldest first,
with the time, in tensors."""
_time = count()
_lock = Lock()
FIT = 1.5
"""How much larger than a tensor its block may be."""
OUTLIVED = 4096
"""Tensors made or gone, after which a block that nobody wanted goes back to the system: some ten steps."""


class _Owner(np.ndarray):
    """The bytes of a block, while a tensor needs them."""


def pooled(shape: Sequence[int], stride: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Uninitialised, on the CPU, without holes: of a block that was a tensor before, where one fits."""
    size = math.prod(shape) * dtype.itemsize
    if size < LARGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.empty_strided(shape, stride, dtype=dtype, device="cpu")
    now = next(_time)
    with _lock:
        while _free and _free[0][0] < now - OUTLIVED:
            _free.pop(0)
        fitting = [entry for entry in _free if size <= len(entry[1]) <= FIT * size + PAGE]
        entry = min(fitting, key=lambda entry: len(entry[1]), default=None)
        if entry is not None:
            _free.remove(entry)
    if entry is not None:
        block = entry[1]
    else:
        with (
            _lock
        ):  # what fits nobody makes room, so that all of them take no more than a program without them
            room = 0
            while _free and room < size:
                room += len(_free.pop(0)[1])
        block = mmap.mmap(-1, -(-size // PAGE) * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        block.madvise(mmap.MADV_HUGEPAGE)
    owner = np.frombuffer(block, np.uint8, size).view(_Owner)
    weakref.finalize(owner, _give_back, block).atexit = False
    storage = torch.from_numpy(owner).untyped_storage()
    return torch.empty(0, dtype=dtype, device="cpu").set_(storage, 0, shape, stride)  # no view of anything


def _give_back(block: mmap.mmap) -> None:
    _free.append((next(_time), block))
