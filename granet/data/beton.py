"""FFCV's .beton files: written by FFCV, checked and read with numpy alone.

Layout of version 2, little-endian: header, a descriptor per field, a record per image, pages of pixels, and last a
table with a row per image. The writer fills the header in at the very end, so a header without a table is the mark
of an interrupted write. `read` takes raw RGB images of one size with int64 labels; FFCV decodes all others.
"""

import contextlib
import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from granet.common.files import MACHINE, atomic
from granet.data.config import MAX_SIDE
from granet.data.split import Split
from granet.types import UserError

VERSION = 2
HEADER = np.dtype(
    [("version", "<u2"), ("num_fields", "<u2"), ("page_size", "<u4"), ("num_images", "<u8"), ("table", "<u8")]
)
FIELD = np.dtype([("type", "u1"), ("name", "S16"), ("arguments", "u1", 1024)])
IMAGE = np.dtype([("mode", "u1"), ("width", "<u2"), ("height", "<u2"), ("start", "<u8")])
RECORD = np.dtype([("image", IMAGE), ("label", "<i8")], align=True)
TABLE_ROW = np.dtype([("image", "<u8"), ("start", "<u8"), ("size", "<u8")])
FIELD_TYPES = [2, 1]  # RGBImageField, IntField
RAW = 1
MIN_PAGE = 1 << 21  # FFCV's smallest page, bytes

REMEDY = "prepare the data again: dvc repro prepare, or python -m pipeline.prepare"
INSTALL = (
    "run `make setup`, or install g++, pkg-config, libopencv-dev and libturbojpeg0-dev (Debian), then "
    "`pip install ffcv`"
)


@dataclass(frozen=True)
class Header:
    """What a file holds: ``num_images`` images of ``height`` x ``width`` pixels, the largest where they differ.

    ``num_classes`` are as many as its largest label needs.
    """

    num_images: int
    num_classes: int
    height: int
    width: int
    num_bytes: int
    """Of all pixels (uint8 RGB), decoded, and labels (int64)."""


@contextlib.contextmanager
def torch_threads_kept() -> Iterator[None]:
    """FFCV sets torch's thread count to its own, on import and at every epoch; this puts it back."""
    import torch

    num_threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


@contextlib.contextmanager
def ffcv_imported() -> Iterator[None]:
    """For imports of FFCV, the first of which takes 3 to 8 s. Raises UserError where it is not installed, or broken."""
    try:
        with torch_threads_kept():
            importlib.import_module("ffcv")
            yield
    except (ImportError, OSError) as error:
        if isinstance(error, OSError) and error.errno in MACHINE:
            raise
        raise UserError(f"FFCV cannot be imported ({error}); {INSTALL}") from error


class _Rows:
    """A split as FFCV's writer wants it: row i is (image_HWC, label)."""

    def __init__(self, split: Split) -> None:
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self.split.images_NHWC[index], int(self.split.labels[index])


def write(path: Path, split: Split, indices: Sequence[int] | np.ndarray | None = None) -> None:
    """Write the images of ``split``, or those at ``indices``, in that order, with the label beside each.

    Appears whole or not at all, and the same images always give the same bytes. Raises UserError where FFCV is
    missing or the images are too large, and OSError where the disk refuses.
    """
    height, width = split.images_NHWC.shape[1:3]
    if max(height, width) > MAX_SIDE:
        raise UserError(
            f"{path}: images of {height} x {width} pixels are too large; at most {MAX_SIDE} on a side"
        )
    page = max(MIN_PAGE, 1 << (height * width * 3 - 1).bit_length())
    write_rows(path, _Rows(split), None, page, indices)


def write_rows(
    path: Path,
    rows: Any,
    encode: Callable[..., None] | None,
    page: int,
    indices: Sequence[int] | np.ndarray | None = None,
) -> None:
    """Write ``rows`` (row i is an image and its label) in pages of ``page`` bytes, a power of 2, as `write` does.

    ``encode`` takes the place of FFCV's own way to store an image; without it images are stored raw.
    """
    with ffcv_imported():
        from ffcv.fields import IntField, RGBImageField

        from granet.data.writing import Writer
    columns: dict[str, Any] = {"image": RGBImageField(write_mode="raw"), "label": IntField()}
    if encode:
        columns["image"].encode = encode

    def write_and_check(temporary: Path) -> None:
        # One worker: with more, every run gives other bytes.
        writer = Writer(str(temporary), columns, page_size=page, num_workers=1)
        writer.from_indexed_dataset(rows, indices=indices)  # pyright: ignore[reportArgumentType]
        check(temporary)

    atomic(path, write_and_check)


def check(path: Path) -> Header:
    """What ``path`` holds, read in milliseconds. Raises UserError for a missing, damaged or foreign file."""
    records = _records(path)
    heights, widths = (records["image"][side].astype(np.int64) for side in ("height", "width"))
    num_bytes = int((heights * widths).sum()) * 3 + len(records) * 8
    num_classes = int(records["label"].max()) + 1
    return Header(len(records), num_classes, int(heights.max()), int(widths.max()), num_bytes)


def read(path: Path) -> Split:
    """All images and labels of ``path``. Raises UserError as `check` does, and for images of many sizes."""
    header, records = check(path), _records(path)
    image = records["image"]
    one_size = bool((image[["height", "width"]] == image[["height", "width"]][0]).all())
    if (image["mode"] != RAW).any() or not one_size:
        raise UserError(f"{path} does not hold raw images of one size; {REMEDY}")
    shape = (header.height, header.width, 3)
    file = np.memmap(path, np.uint8, mode="r").view(np.ndarray)  # a plain view slices three times as fast
    images = np.empty((header.num_images, prod(shape)), np.uint8)
    for image, start in zip(images, records["image"]["start"].tolist(), strict=True):
        image[:] = file[start : start + prod(shape)]
    return Split(images.reshape(-1, *shape), records["label"].astype(np.int64))


def _records(path: Path) -> np.ndarray:
    """The record of every image, all checks done."""
    if not path.is_file():
        raise UserError(f"{path} is missing; {REMEDY}")
    size = path.stat().st_size
    if size < HEADER.itemsize:
        raise UserError(f"{path} is cut short at {size} bytes; {REMEDY}")
    header = np.fromfile(path, HEADER, count=1)[0]
    version, num_fields, num_images, table = (
        int(header[k]) for k in ("version", "num_fields", "num_images", "table")
    )
    if version == 0 or num_images == 0 or table == 0:
        raise UserError(f"{path} was never finished (its header is empty); {REMEDY}")
    if version != VERSION:
        raise UserError(f"{path} has .beton version {version}, not {VERSION}; {REMEDY}")
    start = HEADER.itemsize + num_fields * FIELD.itemsize
    expected = table + num_images * TABLE_ROW.itemsize
    if size != expected or table < start + num_images * RECORD.itemsize:
        raise UserError(
            f"{path} has {size} bytes instead of {expected}: it is cut short or changed; {REMEDY}"
        )
    types = np.fromfile(path, FIELD, count=num_fields, offset=HEADER.itemsize)["type"].tolist()
    records = np.fromfile(path, RECORD, count=num_images, offset=start)
    if types != FIELD_TYPES:
        raise UserError(f"{path} does not hold images with labels; {REMEDY}")
    placed = np.fromfile(path, TABLE_ROW, count=num_images, offset=table)
    image = records["image"]
    raw = image["mode"] == RAW
    pixels = image["height"].astype(np.uint64) * image["width"] * 3
    if (
        (placed["start"] != image["start"]).any()
        or (placed["start"] > table).any()
        or (placed["size"] > table - placed["start"]).any()
        or (placed["size"][raw] != pixels[raw]).any()
        or (pixels == 0).any()
    ):
        raise UserError(f"{path} is damaged: an image lies beyond its pages, or is not of its size; {REMEDY}")
    if (image["mode"] > RAW).any() or (records["label"] < 0).any():
        raise UserError(f"{path} is damaged: an image is of no known kind, or of no class; {REMEDY}")
    return records
