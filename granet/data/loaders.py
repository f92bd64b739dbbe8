"""Batches of a .beton file, by one interface.

The order of an epoch is a function of (seed, epoch): the same for every kind of loader and any number of threads, so
that resuming at an epoch needs no state. Batches are decoded and nothing else; augmentation is `augment`'s.
"""

import importlib.util
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from granet.data import beton
from granet.seeds import stable_seed
from granet.types import UserError

Batch = tuple[Tensor, Tensor]
"""(images_BCHW uint8 in channels-last memory, labels_B int64), on the loader's device."""


class Loader(Protocol):
    """Iterates over a split. ``len`` is the number of batches, the last and smaller one included."""

    num_images: int

    def __len__(self) -> int: ...

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of epoch 0, 1, 2, ..."""
        ...


def order_seed(seed: int) -> int:
    """The seed of the order's generator. Epoch e uses this plus e, so neighbouring seeds must not give neighbours."""
    return stable_seed("order", seed)


def epoch_order(seed: int, epoch: int, num_images: int) -> np.ndarray:
    """The shuffled image numbers of an epoch, as FFCV's RANDOM order has them.

    >>> epoch_order(0, 0, 5).tolist()
    [4, 2, 0, 3, 1]
    """
    return np.random.default_rng(order_seed(seed) + epoch).permutation(num_images)


class ResidentLoader:
    """The whole split as one tensor on the device: the fastest where it fits. Needs no FFCV.

    Raises UserError where it does not fit.
    """

    def __init__(
        self, path: Path, *, batch_size: int, seed: int, shuffle: bool, device: torch.device, num_workers: int
    ) -> None:
        needed, free = beton.check(path).num_bytes, free_bytes(device)
        if needed > free:
            raise UserError(
                f"data.loader=resident needs {_gib(needed)} on {device} for {path}, but {_gib(free)} are free; "
                "set data.loader=ffcv"
            )
        split = beton.read(path)
        self.num_images = len(split)
        self._images_NHWC = torch.from_numpy(split.images_NHWC).to(device)
        self._labels_N = torch.from_numpy(split.labels).to(device)
        self._batch_size, self._seed, self._shuffle = batch_size, seed, shuffle

    def __len__(self) -> int:
        return math.ceil(self.num_images / self._batch_size)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """One index_select per batch; in file order they are views."""
        if not self._shuffle:
            parts = zip(
                self._images_NHWC.split(self._batch_size), self._labels_N.split(self._batch_size), strict=True
            )
            yield from ((images_BHWC.permute(0, 3, 1, 2), labels_B) for images_BHWC, labels_B in parts)
            return
        order_N = torch.from_numpy(epoch_order(self._seed, epoch, self.num_images)).to(self._labels_N.device)
        for chosen_B in order_N.split(self._batch_size):
            yield self._images_NHWC.index_select(0, chosen_B).permute(0, 3, 1, 2), self._labels_N[chosen_B]


class FfcvLoader:
    """FFCV decodes from the file, ahead of the training step, in ``num_workers`` threads (0: one per core).

    Raises UserError where FFCV is not installed.
    """

    def __init__(
        self, path: Path, *, batch_size: int, seed: int, shuffle: bool, device: torch.device, num_workers: int
    ) -> None:
        self.num_images = beton.check(path).num_images  # FFCV itself would crash on a damaged file
        loader, decoders, transforms = map(
            beton.import_ffcv, ("ffcv.loader", "ffcv.fields.decoders", "ffcv.transforms")
        )
        from numba import config  # FFCV's threads are numba's

        threads = config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
        with beton.torch_threads_kept():
            self._loader = loader.Loader(
                str(path),
                batch_size=batch_size,
                num_workers=min(num_workers or threads, threads),  # FFCV raises above the core count
                order=loader.OrderOption.RANDOM if shuffle else loader.OrderOption.SEQUENTIAL,
                seed=order_seed(seed),
                drop_last=False,  # FFCV's default would lose images in evaluation
                pipelines={
                    "image": [decoders.SimpleRGBImageDecoder(), transforms.ToTensor()],
                    "label": [decoders.IntDecoder(), transforms.ToTensor()],
                },
            )
        self._device = device

    def __len__(self) -> int:
        return len(self._loader)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Copies of FFCV's buffers, which it fills again."""
        self._loader.next_epoch = epoch
        with beton.torch_threads_kept():
            batches = iter(self._loader)
        try:
            for images_BHWC, labels_B1 in batches:
                images_BCHW = images_BHWC.permute(0, 3, 1, 2).to(self._device, copy=True)
                yield images_BCHW, labels_B1.view(-1).to(self._device, copy=True)
        finally:
            batches.close()  # its thread would wait forever where an epoch is left half-way


def _auto(path: Path, *, device: torch.device, **options: Any) -> Loader:
    """Resident where the split fits in a quarter of the free memory, or FFCV is missing; else FFCV."""
    small = beton.check(path).num_bytes <= free_bytes(device) / 4
    kind = ResidentLoader if small or importlib.util.find_spec("ffcv") is None else FfcvLoader
    return kind(path, device=device, **options)


LOADERS: dict[str, Callable[..., Loader]] = {"ffcv": FfcvLoader, "resident": ResidentLoader, "auto": _auto}


def build_loader(
    kind: str,
    path: Path,
    *,
    batch_size: int,
    seed: int = 0,
    shuffle: bool,
    device: torch.device | str,
    num_workers: int = 0,
) -> Loader:
    """A loader of ``path``: ``kind`` is a key of LOADERS, ``num_workers`` counts decoding threads (0: one per core).

    ``seed`` decides the order where ``shuffle``. Raises UserError for an unknown kind or bad numbers, a damaged file,
    and a loader that cannot be had here.
    """
    if kind not in LOADERS:
        raise UserError(f"data.loader={kind!r} is unknown; choose from {', '.join(LOADERS)}")
    for key, value, lowest in (("train.batch_size", batch_size, 1), ("data.num_workers", num_workers, 0)):
        if value < lowest:
            raise UserError(f"{key}={value} must be at least {lowest}")
    return LOADERS[kind](
        path,
        batch_size=batch_size,
        seed=seed,
        shuffle=shuffle,
        device=torch.device(device),
        num_workers=num_workers,
    )


def free_bytes(device: torch.device) -> int:
    """Memory that can still be had on ``device``: the GPU's own, else the machine's."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        fields = dict(line.split(":") for line in meminfo.read_text().splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.2f} GiB"
