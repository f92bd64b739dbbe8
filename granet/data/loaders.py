"""Batches of a .beton file, by one interface.

The order of an epoch, and the crops of a file of JPEGs, are functions of (seed, epoch): the same for every kind of
loader and any number of threads and processes, so that resuming at an epoch needs no state. Images are decoded and
cropped from files of JPEGs here; all else is `augment`'s.
"""

import importlib.util
import math
import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from granet.common.distributed import ALONE, World, own_threads
from granet.common.seeds import stable_seed
from granet.data import beton
from granet.data.config import LOADERS
from granet.data.crops import Crop, central_boxes, random_boxes
from granet.data.order import epoch_order, shares
from granet.types import UserError

IMAGE = "f0"
"""FFCV's name for the first field of a record."""

Batch = tuple[Tensor, Tensor]
"""(images_BCHW uint8 in channels-last memory, labels_B int64), on the loader's device."""


class Loader(Protocol):
    """Iterates over a split. ``len`` is the number of batches, the last and smaller one included."""

    num_images: int
    batch_size: int

    def __len__(self) -> int: ...

    def epoch(self, epoch: int, world: World = ALONE, start: int = 0) -> Iterator[Batch]:
        """The batches of epoch 0, 1, 2, ..., from number ``start`` on, or what ``world`` sees of each.

        In training, a share without images, of a small batch, is one image; in evaluation it is left out.
        """
        ...


def crop_boxes(images: np.ndarray, crop: Crop, seed: int, epoch: int, shuffle: bool) -> np.ndarray:
    """The boxes (N, 4) of an epoch: random where images are shuffled, central elsewhere.

    ``images`` are records with the fields height and width.
    """
    heights_N, widths_N = images["height"], images["width"]
    if not shuffle:
        return central_boxes(heights_N, widths_N, crop.centre)
    return random_boxes(heights_N, widths_N, np.random.default_rng(stable_seed("crop", seed, epoch)))


class ResidentLoader:
    """The whole split as one tensor on the device: the fastest where it fits. Needs no FFCV.

    Raises UserError where it does not fit, and for images of many sizes.
    """

    def __init__(
        self,
        path: Path,
        *,
        batch_size: int,
        seed: int,
        shuffle: bool,
        crop: Crop | None,
        device: torch.device,
        num_workers: int,
    ) -> None:
        needed, free = beton.check(path).num_bytes, free_bytes(device)
        if crop:
            raise UserError(
                f"data.loader=resident keeps decoded images of one size, but {path} holds many sizes, cropped anew in "
                f"every epoch (decoded, they would take {_gib(needed)}; {_gib(free)} are free on {device}); "
                "set data.loader=ffcv"
            )
        if needed > free:
            raise UserError(
                f"data.loader=resident needs {_gib(needed)} on {device} for {path}, but {_gib(free)} are free; "
                "set data.loader=ffcv"
            )
        split = beton.read(path)
        self.num_images = len(split)
        self._images_NHWC = torch.from_numpy(split.images_NHWC).to(device)
        self._labels_N = torch.from_numpy(split.labels).to(device)
        self.batch_size, self._seed, self._shuffle = batch_size, seed, shuffle

    def __len__(self) -> int:
        return math.ceil(self.num_images / self.batch_size)

    def epoch(self, epoch: int, world: World = ALONE, start: int = 0) -> Iterator[Batch]:
        """One index_select per batch; in file order they are views."""
        order_N = None
        if self._shuffle:
            order_N = torch.from_numpy(epoch_order(self._seed, epoch, self.num_images))
            order_N = order_N.to(self._labels_N.device)
        parts = shares(self.num_images, self.batch_size, world, training=self._shuffle)
        for part in islice(parts, start, None):
            if order_N is None:
                images_BHWC, labels_B = self._images_NHWC[part], self._labels_N[part]
            else:
                images_BHWC = self._images_NHWC.index_select(0, order_N[part])
                labels_B = self._labels_N[order_N[part]]
            yield images_BHWC.permute(0, 3, 1, 2), labels_B


class FfcvLoader:
    """FFCV decodes from the file, ahead of the training step, in ``num_workers`` threads (0: one per core).

    The processes of a run on one machine share its cores.

    Raises UserError where FFCV is not installed.
    """

    def __init__(
        self,
        path: Path,
        *,
        batch_size: int,
        seed: int,
        shuffle: bool,
        crop: Crop | None,
        device: torch.device,
        num_workers: int,
    ) -> None:
        self.num_images = beton.check(path).num_images  # FFCV itself would crash on a damaged file
        with beton.ffcv_imported():
            from ffcv import loader, transforms
            from ffcv.fields import decoders
            from numba import config  # FFCV's threads are numba's

            from granet.data import reading
        threads = config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
        decoder = reading.BoxDecoder([crop.size] * 2) if crop else decoders.SimpleRGBImageDecoder()
        with beton.torch_threads_kept():
            self._loader = loader.Loader(
                str(path),
                batch_size=batch_size,
                num_workers=min(num_workers or own_threads(), threads),  # FFCV raises above the core count
                pipelines={
                    "image": [decoder, transforms.ToTensor()],
                    "label": [decoders.IntDecoder(), transforms.ToTensor()],
                },
            )
        self._metadata = self._loader.reader.metadata
        self._reading, self._device, self._crop = reading, device, crop
        self.batch_size, self._seed, self._shuffle = batch_size, seed, shuffle

    def __len__(self) -> int:
        return math.ceil(self.num_images / self.batch_size)

    def epoch(self, epoch: int, world: World = ALONE, start: int = 0) -> Iterator[Batch]:
        """Copies of FFCV's buffers, which it fills again."""
        order_N = np.arange(self.num_images)
        if self._shuffle:
            order_N = epoch_order(self._seed, epoch, self.num_images)
        parts = shares(self.num_images, self.batch_size, world, training=self._shuffle)
        numbers = [order_N[part] for part in islice(parts, start, None)]
        if not numbers:
            return
        if self._crop:
            boxes_N4 = crop_boxes(self._metadata[IMAGE], self._crop, self._seed, epoch, self._shuffle)
            self._loader.reader.metadata = self._reading.with_boxes(self._metadata, IMAGE, boxes_N4)
        self._loader.batch_size = len(numbers[0])  # the first share is as large as any
        with beton.torch_threads_kept():
            batches = self._reading.Epoch(self._loader, np.concatenate(numbers).astype(np.uint64))
        try:
            for images_BHWC, labels_B1 in batches:
                images_BCHW = sent(images_BHWC, self._device).permute(0, 3, 1, 2)
                yield images_BCHW, sent(labels_B1.view(-1), self._device)
        finally:
            batches.close()  # its thread would wait forever where an epoch is left half-way


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy on ``device`` of a host's tensor. A GPU gets it from page-locked memory, and is not waited for."""
    if device.type == "cuda":
        return page_locked(tensor).to(device, non_blocking=True)
    return tensor.to(device, copy=True)


def page_locked(tensor: Tensor) -> Tensor:
    """A copy in page-locked memory, even of what lies there: FFCV's buffers do, and are filled again meanwhile."""
    if tensor.is_pinned():
        return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor)
    return tensor.pin_memory()


def _auto(path: Path, *, device: torch.device, crop: Crop | None, **options: Any) -> Loader:
    """Resident where the split fits in a quarter of the free memory, or FFCV is missing; else FFCV, as for crops."""
    small = beton.check(path).num_bytes <= free_bytes(device) / 4
    resident = not crop and (small or importlib.util.find_spec("ffcv") is None)
    return (ResidentLoader if resident else FfcvLoader)(path, device=device, crop=crop, **options)


KINDS: dict[str, Callable[..., Loader]] = dict(zip(LOADERS, (FfcvLoader, ResidentLoader, _auto), strict=True))


def build_loader(
    kind: str,
    path: Path,
    *,
    batch_size: int,
    seed: int = 0,
    shuffle: bool,
    crop: Crop | None = None,
    device: torch.device | str,
    num_workers: int = 0,
) -> Loader:
    """A loader of ``path``: ``kind`` is one of LOADERS, ``num_workers`` counts decoding threads (0: one per core).

    ``seed`` decides order and crops where ``shuffle``. Images of one size need no ``crop``; ``batch_size`` is 1 or
    more. Raises UserError for a damaged file, and a loader that is unknown or cannot be had here.
    """
    if kind not in KINDS:
        raise UserError(f"data.loader={kind!r} is unknown; choose from {', '.join(KINDS)}")
    return KINDS[kind](
        path,
        batch_size=batch_size,
        seed=seed,
        shuffle=shuffle,
        crop=crop,
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
    return f"{num_bytes / 2**30:.2f} GiB" if num_bytes >= 2**30 else f"{num_bytes / 2**20:.1f} MiB"
