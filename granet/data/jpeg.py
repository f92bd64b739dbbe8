"""Photographs of many sizes into a .beton: encoded in many threads, written by one, to the same bytes every time.

What is encoded lies in parts in a folder of its own until the .beton is whole, so that a killed run goes on at its next
part; the disk holds everything twice for a while. Memory holds some parts.
"""

import hashlib
import os
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from granet.common.distributed import own_threads
from granet.common.files import atomic, made
from granet.common.progress import follow
from granet.data import beton
from granet.data.pixels import read_picture
from granet.data.split import ImageFiles
from granet.types import UserError

PART = 128
"""Images of a part."""
VERSION = 2
"""Of what a part holds, so that nothing goes on with parts of an older kind."""
NAMED = 5
"""Unreadable images that an error names; the others are counted."""
RAW, JPEG = 1, 0
"""Modes of FFCV's image field."""


@dataclass(frozen=True)
class Packing:
    """How images are stored: three keys of the ``data`` section, where their ranges are."""

    max_side: int
    """Longer side at most, pixels; larger images are scaled down."""
    quality: int
    """Of JPEG, 1 to 100."""
    raw_share: float
    """Of the images: stored as pixels, for disks that are faster than the decoder."""


class Encoded(NamedTuple):
    """An image as the .beton holds it: ``mode`` RAW or JPEG, height and width in pixels, and its bytes.

    ``turned``: EXIF asks for it to be turned, which it is not.
    """

    mode: int
    height: int
    width: int
    data: np.ndarray
    turned: bool = False


class Packed(NamedTuple):
    """Files that have served their purpose, and how many of their images EXIF asks to be turned."""

    parts: list[Path]
    num_turned: int


def encode(path: Path, packing: Packing, raw: bool) -> Encoded:
    """Read an image file, scale it down where it is too large (bilinear, antialiased), and encode it.

    Raises UserError as `read_picture` does.
    """
    image, turned = read_picture(path)
    image.thumbnail((packing.max_side, packing.max_side), Image.Resampling.BILINEAR)
    if raw:
        return Encoded(RAW, image.height, image.width, np.asarray(image).reshape(-1), turned)
    jpeg = BytesIO()
    image.save(jpeg, "JPEG", quality=packing.quality)
    return Encoded(JPEG, image.height, image.width, np.frombuffer(jpeg.getvalue(), np.uint8), turned)


def write(path: Path, files: ImageFiles, indices: np.ndarray, packing: Packing, parts: Path) -> Packed:
    """Write the images of ``files`` at ``indices``, in that order; unfinished work is kept in the folder ``parts``.

    Raises UserError for unreadable images, by name, once all others are encoded, and OSError where the disk refuses.
    """
    chunks = [indices[start : start + PART] for start in range(0, len(indices), PART)]
    pool = ThreadPoolExecutor(own_threads())
    try:
        made(parts)
        done = pool.map(partial(_pack, files, packing=packing, parts=parts), chunks)
        results = list(follow(done, f"{path.stem}: encoding images", len(indices), step=PART))
    finally:
        pool.shutdown(cancel_futures=True)
    if bad := [message for _, messages in results for message in messages]:
        more = f" and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
        raise UserError(f"{'; '.join(bad[:NAMED])}{more}; replace or remove them")
    page = max(beton.MIN_PAGE, 1 << (packing.max_side**2 * 3 - 1).bit_length())
    done_parts = [part for part, _ in results]
    with closing(follow(range(len(indices)), f"{path.stem}: writing images", len(indices))) as shown:
        beton.write_rows(path, _Rows(done_parts, files.labels[indices], shown), _as_it_is, page)
    return Packed(done_parts, sum(map(_num_turned, done_parts)))


def _pack(files: ImageFiles, chunk: np.ndarray, packing: Packing, parts: Path) -> tuple[Path, list[str]]:
    """The part of these images, made where it is not there yet, and what cannot be read."""
    names = [files.names[index] for index in chunk]
    part = parts / f"{_key(files.folder, names, packing)}.npz"
    if part.exists():
        return part, []
    images: list[Encoded] = []
    bad: list[str] = []
    for name in names:
        raw = (
            zlib.crc32(os.fsencode(name)) < packing.raw_share * 2**32
        )  # the same images, whatever else is packed
        try:
            images.append(encode(files.folder / name, packing, raw))
        except UserError as error:
            bad.append(str(error))
    if not bad:
        atomic(part, partial(_save, images))
    return part, bad


def _save(images: list[Encoded], path: Path) -> None:
    with path.open("wb") as file:  # savez would put .npz after a name
        np.savez(
            file,
            shapes=np.array([image[:3] for image in images], np.int64),
            ends=np.cumsum([len(image.data) for image in images]),
            data=np.concatenate([image.data for image in images]),
            num_turned=sum(image.turned for image in images),
        )


def _num_turned(part: Path) -> int:
    with np.load(part) as arrays:
        return int(arrays["num_turned"])


def _key(folder: Path, names: list[str], packing: Packing) -> str:
    """Names a part by all that it depends on, file sizes and times included."""
    digest = hashlib.blake2b(f"{VERSION} {packing!r}".encode(), digest_size=12)
    for name in names:
        try:
            status = (folder / name).stat()
            digest.update(os.fsencode(f"{folder / name}/{status.st_size}/{status.st_mtime_ns}"))
        except OSError:
            digest.update(os.fsencode(name))  # it cannot be read either
    return digest.hexdigest()


class _Rows:
    """Parts as FFCV's writer wants them: row i is (encoded image, label). Holds one part at a time.

    ``shown`` is asked for its next item with every row.
    """

    def __init__(self, parts: list[Path], labels: np.ndarray, shown: Iterator[int]) -> None:
        self.parts, self.labels, self._shown = parts, labels, shown
        self._number, self._part = -1, {}

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Encoded, int]:
        number, place = divmod(int(index), PART)
        if number != self._number:
            with np.load(self.parts[number]) as part:
                self._number, self._part = number, dict(part)
        ends = self._part["ends"]
        data = self._part["data"][ends[place - 1] if place else 0 : ends[place]]
        mode, height, width = self._part["shapes"][place].tolist()
        next(self._shown, None)
        return Encoded(mode, height, width, data), int(self.labels[index])


def _as_it_is(destination: Any, image: Encoded, malloc: Any) -> None:
    """What FFCV's image field does in its `encode`, for an image that is encoded already."""
    destination["mode"], destination["height"], destination["width"] = image[:3]
    destination["data_ptr"], storage = malloc(image.data.nbytes)
    storage[:] = image.data
