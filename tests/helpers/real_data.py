"""Real images for tests, where the environment variable GRANET_TEST_DATA names a folder that has them.

It may hold imagenette/ (photographs in the ImageNet layout) and cifar10/ (all of CIFAR-10 as sheets of 50 x 50 images
in WebP, with labels and file names). Without it the tests use digits and generated photographs in the same layouts.
"""

import os
import struct
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

VARIABLE = "GRANET_TEST_DATA"
PER_FILE, SIDE, PER_SIDE = 10_000, 32, 50


def folder(name: str) -> Path | None:
    """A folder of real data; None where there is none."""
    parent = os.environ.get(VARIABLE)
    path = Path(parent, name).resolve() if parent else None
    return path if path is not None and path.is_dir() else None


@cache
def _sheet(path: Path) -> np.ndarray:
    """2,500 images (N, C, H, W), row by row."""
    pixels = np.asarray(Image.open(path).convert("RGB"))
    tiles = pixels.reshape(PER_SIDE, SIDE, PER_SIDE, SIDE, 3).transpose(0, 2, 4, 1, 3)
    return tiles.reshape(-1, 3, SIDE, SIDE)


def _file_names(names: list[bytes]) -> bytes:
    """The end of an official batch: a pickled list of names, in parts of 1,000, each name with its memo number."""
    text = b"tbU\tfilenamesq\x0c]q\x0d"
    for number, name in enumerate(names):
        memo = number + 14
        if number % 1000 == 0:
            text += b"(" if number == 0 else b"e("
        put = b"q" + bytes([memo]) if memo < 256 else b"r" + struct.pack("<I", memo)
        text += b"U" + bytes([len(name)]) + name + put
    return text + b"eu."


def write_cifar10(root: Path) -> bool:
    """The official files of CIFAR-10 under ``root``, byte by byte; False where the real images are not at hand."""
    source = folder("cifar10")
    if source is None:
        return False
    target = root / "cifar-10-batches-py"
    target.mkdir(parents=True)
    headers = np.load(source / "headers.npz")
    for number in range(6):
        name, split = (f"data_batch_{number + 1}", "train") if number < 5 else ("test_batch", "test")
        first = number * PER_FILE if split == "train" else 0
        sheets = range(first // 2500, first // 2500 + 4)
        pixels = b"".join(_sheet(source / f"{split}_{sheet:02}.webp").tobytes() for sheet in sheets)
        names = np.load(source / f"{split}_labels.npz")["filenames"][first : first + PER_FILE]
        (target / name).write_bytes(headers[name].tobytes() + pixels + _file_names(list(names)))
    (target / "batches.meta").write_bytes(headers["batches.meta"].tobytes())
    return True
