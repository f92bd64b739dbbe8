"""A folder of images as squares of one size, decoded."""

import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from granet.common.files import naming
from granet.data.folder import image_files
from granet.data.pixels import read_picture, tell_of_turned
from granet.data.split import ImageFiles, Request, Source, Split
from granet.types import UserError

CHUNK = 4096


def image_squares(request: Request) -> Source[Split]:
    """The images that `image_files` lists, every one RGB and a square of ``request.image_size`` pixels.

    Its shorter side is resized to that (bilinear, antialiased), and its centre is cropped. Warns once where EXIF asks
    for images to be turned. Raises UserError as `image_files` does, for a missing size, and for an unreadable image.
    """
    size = request.image_size
    if size is None:
        raise UserError(
            "data.image_size=null but an imagefolder needs a size in pixels, e.g. data.image_size=224"
        )
    return squares(image_files(request), size)


def squares(source: Source[ImageFiles], size: int) -> Source[Split]:
    """The images of a source, every one RGB and a square of ``size`` pixels, as `image_squares` makes them."""
    (train, turned), (test, turned_too) = (_read(files, size) for files in (source.train, source.test))
    tell_of_turned(turned + turned_too, len(train) + len(test))
    return Source(train, test, source.classes)


def _read(files: ImageFiles, size: int) -> tuple[Split, int]:
    """The squares, and how many images EXIF asks to be turned."""
    images = disk_array((len(files), size, size, 3))
    num_turned = 0

    def place(index: int) -> bool:
        images[index], turned = _decode(files.folder / files.names[index], size)
        return turned

    with ThreadPoolExecutor() as pool:
        for start in range(0, len(files), CHUNK):  # in chunks, so that a bad file stops the rest
            num_turned += sum(pool.map(place, range(start, min(start + CHUNK, len(files)))))
    return Split(images, files.labels), num_turned


def _decode(path: Path, size: int) -> tuple[np.ndarray, bool]:
    try:
        picture = read_picture(path)
    except UserError as error:
        raise UserError(f"{error}; replace it or remove it") from error
    return square(picture.image, size), picture.turned


def square(image: Image.Image, size: int) -> np.ndarray:
    """The centre of an image, resized to a square of ``size`` pixels."""
    return np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR))


def disk_array(shape: tuple[int, ...]) -> np.ndarray:
    """Zeros in a temporary file that goes with the array: all of ImageNet is 190 GB, more than most memories."""
    needed, free = int(np.prod(shape)), shutil.disk_usage(tempfile.gettempdir()).free
    if needed > free:
        raise UserError(
            f"TMPDIR={tempfile.gettempdir()} has {free / 2**30:.1f} GiB free but the decoded images need "
            f"{needed / 2**30:.1f}; set TMPDIR to a larger disk, or data.image_size lower"
        )
    with tempfile.TemporaryFile() as file, naming(Path(tempfile.gettempdir())):
        if hasattr(os, "posix_fallocate"):  # a disk that others fill meanwhile would end the process
            os.posix_fallocate(file.fileno(), 0, needed)
        return np.memmap(file, dtype=np.uint8, mode="w+", shape=shape)
