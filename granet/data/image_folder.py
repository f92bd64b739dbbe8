"""Any folder of images, one sub-folder per class, in the ImageNet layout."""

import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from granet.data.split import Request, Source, Split
from granet.types import UserError

CHUNK = 4096


def image_folder(request: Request) -> Source[Split]:
    """root/train/<class>/* for training; root/val/<class>/*, or root/test where there is no val, for testing.

    Every file must be an image (hidden files are passed over). It is made RGB, its shorter side is resized to
    ``request.image_size`` (bilinear, antialiased), and its centre is cropped to a square. Raises UserError for a
    missing folder, classes that differ between the splits, a class without images, and an unreadable image.
    """
    root, size = request.root, request.image_size
    if root is None:
        raise UserError(
            "data.root is not set; set it to a folder that holds train/<class>/* and val/<class>/*"
        )
    if size is None:
        raise UserError(
            "data.image_size=null but an imagefolder needs a size in pixels, e.g. data.image_size=224"
        )
    folders = root / "train", root / "val" if (root / "val").is_dir() else root / "test"
    classes, test_classes = (_classes(folder, root) for folder in folders)
    if odd := sorted(set(classes) ^ set(test_classes)):
        raise UserError(
            f"data.root={root}: class {odd[0]} is in only one of {folders[0].name}/ and {folders[1].name}/; "
            "give both splits the same classes"
        )
    train, test = (_read(folder, classes, size) for folder in folders)
    return Source(train, test, tuple(classes))


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _classes(folder: Path, root: Path) -> list[str]:
    names = [path.name for path in _visible(folder) if path.is_dir()] if folder.is_dir() else []
    if not names:
        raise UserError(
            f"data.root={root}: {folder} has no class folders; an imagefolder is train/<class>/* and val/<class>/*"
        )
    return names


def _read(folder: Path, classes: list[str], size: int) -> Split:
    files = [_visible(folder / name) for name in classes]
    for name, paths in zip(classes, files, strict=True):
        if not paths:
            raise UserError(f"data.root: {folder / name} has no images; add some or remove the folder")
    labels = np.repeat(np.arange(len(classes)), [len(paths) for paths in files])
    paths = [path for in_class in files for path in in_class]
    images = _disk_array((len(paths), size, size, 3))

    def place(index: int) -> None:
        images[index] = _decode(paths[index], size)

    with ThreadPoolExecutor() as pool:
        for start in range(0, len(paths), CHUNK):  # in chunks, so that a bad file stops the rest
            list(pool.map(place, range(start, min(start + CHUNK, len(paths)))))
    return Split(images, labels.astype(np.int64))


def _decode(path: Path, size: int) -> np.ndarray:
    try:
        with Image.open(path) as image:
            square = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.BILINEAR)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} is not a readable image ({error}); replace it or remove it") from error
    return np.asarray(square)


def _disk_array(shape: tuple[int, ...]) -> np.ndarray:
    """Zeros in a temporary file that goes with the array: all of ImageNet is 190 GB, more than most memories."""
    needed, free = int(np.prod(shape)), shutil.disk_usage(tempfile.gettempdir()).free
    if needed > free:
        raise UserError(
            f"TMPDIR={tempfile.gettempdir()} has {free / 2**30:.1f} GiB free but the decoded images need "
            f"{needed / 2**30:.1f}; set TMPDIR to a larger disk, or data.image_size lower"
        )
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype=np.uint8, mode="w+", shape=shape)
