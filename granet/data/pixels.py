"""An image file as RGB pixels of 8 bits: what Pillow's convert("RGB") gives, as in torchvision, but for wide greys.

So alpha is dropped and the colours beneath it stay, orientation in EXIF is ignored (TIFF's own is not: Pillow obeys
it), colour profiles are ignored, and of several pictures the first is taken. Greys of more than 8 bits are scaled by
their range; Pillow would make white of all that is above 255.
"""

import warnings
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from granet.common.files import MACHINE, one_line
from granet.types import UserError

NUMBERS = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
"""Pillow's modes of one channel that is wider than 8 bits."""
WIDE = {("PNG", "I;16"): 16, ("PNG", "I"): 16, ("PPM", "I"): 16, ("JPEG2000", "I;16"): 16}
"""Bits of a wide grey, by format and mode, whose largest number is white. Of a TIFF its tags tell."""


class Picture(NamedTuple):
    """``image`` is RGB; ``turned``: EXIF asks for it to be turned or mirrored, which it is not."""

    image: Image.Image
    turned: bool


def read_picture(path: Path, content: bytes | None = None) -> Picture:
    """Read an image file, or its ``content``, whose name ``path`` is then.

    Raises UserError, with the file's name, where it is no image, cut short, or of numbers without a defined white; and
    OSError where the machine fails, which says nothing about the image.
    """
    try:
        with Image.open(path if content is None else BytesIO(content)) as file:
            file.load()
            return Picture(_rgb(file), _turned(file))
    except Exception as error:  # a damaged file can raise anything
        if isinstance(error, OSError) and error.errno in MACHINE:
            raise
        raise UserError(
            f"{one_line(path)} is not a readable image ({_reason(error, path, content)})"
        ) from error


def tell_of_turned(num_turned: int, num_images: int) -> None:
    """Warn where EXIF asks for images to be turned: whoever looks at them sees them otherwise than the network does."""
    if num_turned:
        warnings.warn(
            f"{num_turned:,} of {num_images:,} images have an EXIF orientation, which is ignored, as torchvision does: "
            "they are used as their pixels are stored (data/README.md says how to turn those)",
            stacklevel=3,
        )


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in NUMBERS:
        image = Image.fromarray(_grey(image))
    elif image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
        image = image.convert(
            "RGBA"
        )  # the same colours, without the warning that Pillow has for the direct way
    return image.convert("RGB")


def _grey(image: Any) -> np.ndarray:
    """The upper 8 bits (H, W) of a wide grey, which is what Pillow takes of 16-bit colours.

    Raises ValueError where no number is known to be white.
    """
    tags = image.tag_v2 if image.format == "TIFF" else {}
    bits = WIDE.get((image.format, image.mode))
    if tags and image.mode.startswith("I;16"):
        (bits,) = tags[ExifTags.Base.BitsPerSample]
    if bits is None:
        raise ValueError(
            f"{image.format} of mode {image.mode}: such numbers have no defined white; save it with 8 or 16 bits"
        )
    grey_HW = (np.asarray(image).astype(np.int64) >> (bits - 8)).astype(np.uint8)
    white_is_zero = tags.get(ExifTags.Base.PhotometricInterpretation) == 0
    return 255 - grey_HW if white_is_zero else grey_HW


def _turned(image: Image.Image) -> bool:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)
    except Exception:  # damaged EXIF, of a whole picture
        return False


def _reason(error: Exception, path: Path, content: bytes | None) -> str:
    if isinstance(error, UnidentifiedImageError):
        size = path.stat().st_size if content is None else len(content)
        return "no image format is known that begins like it" if size else "it is empty"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
