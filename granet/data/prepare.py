"""From a data set to the files that training reads: a .beton per split and index.json, which describes them."""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from granet.data import beton, jpeg
from granet.data.sources import DATASETS, Dataset
from granet.data.split import ImageFiles, Request, Split
from granet.data.subset import balanced, hold_out
from granet.types import UserError

FORMAT_VERSION = 1
CHUNK = 4096
CENTRE = 224 / 256
"""Share of the shorter side that the square covers which is evaluated, where images are cropped."""


def prepare(
    dataset: str,
    out: Path,
    *,
    root: Path | None = None,
    train_size: int | None = None,
    val_size: int | None = None,
    test_size: int | None = None,
    seed: int = 0,
    image_size: int | None = None,
    verify: bool = True,
    packing: jpeg.Packing | None = None,
    parts: Path | None = None,
) -> dict[str, Any]:
    """Write out/train.beton, out/val.beton (where images are held out), out/test.beton and out/index.json.

    ``train_size`` counts the images trained on; None is all that are not held out. ``val_size`` images are held out
    of the training split; None is the data set's own number where all of it is used, else 0. ``test_size`` None is
    all. Smaller sets are class-balanced and depend on ``seed``. Equal arguments give equal bytes. Returns the index.
    Photographs of many sizes stay encoded, as ``packing`` says; what is done of them lies in ``parts`` (None: beside
    ``out``) until all is, so that a killed run goes on. Raises UserError for sizes the data cannot fill, an unknown
    data set, and unreadable data.
    """
    if dataset not in DATASETS:
        raise UserError(f"dataset={dataset!r} is unknown; choose from {', '.join(DATASETS)}")
    for key, value, lowest in (
        ("train_size", train_size, 1),
        ("val_size", val_size, 0),
        ("test_size", test_size, 1),
        ("image_size", image_size, 1),
    ):
        if value is not None and value < lowest:
            raise UserError(f"data.{key}={value} must be at least {lowest}")
    row, packing = DATASETS[dataset], packing or jpeg.Packing()
    source = row.load(Request(root, image_size, verify))
    if val_size is None:
        val_size = row.val_size if train_size is None else 0
    _check_sizes(len(source.train), len(source.test), train_size, val_size, test_size)

    train, val = hold_out(source.train.labels, train_size, val_size, seed)
    test = balanced(source.test.labels, len(source.test) if test_size is None else test_size, "test", seed)
    chosen = {"train": (source.train, train), "val": (source.train, val), "test": (source.test, test)}
    chosen = {name: (split, indices) for name, (split, indices) in chosen.items() if len(indices)}

    index_json = out / "index.json"
    index_json.unlink(missing_ok=True)  # it comes last: where it is, the files it describes are whole
    (out / "val.beton").unlink(missing_ok=True)
    parts = parts or out.with_name(f".{out.name}-parts")
    served = []
    for name, (split, indices) in chosen.items():
        if isinstance(split, ImageFiles):
            served += jpeg.write(out / f"{name}.beton", split, indices, packing, parts)
        else:
            beton.write(out / f"{name}.beton", split, indices)

    index = {
        "format_version": FORMAT_VERSION,
        "dataset": dataset,
        "classes": list(source.classes),
        "num_images": {name: len(indices) for name, (_, indices) in chosen.items()},
        **_what_is_seen(row, source.train, train, image_size),
        "padding": row.padding,
        "mode": row.mode,
        "flip": row.flip,
        **({"centre": CENTRE} if row.crops else {}),
        "source_md5": source.md5,
        "md5": {f"{name}.beton": file_md5(out / f"{name}.beton") for name in chosen},
    }
    temporary = out / f".index.json.{os.getpid()}"
    temporary.write_text(json.dumps(index, indent=2) + "\n")
    temporary.replace(index_json)
    for part in [*served, *parts.glob("*.tmp")]:  # others may belong to a larger set that was interrupted
        part.unlink(missing_ok=True)
    with suppress(OSError):
        parts.rmdir()
    return index


def _what_is_seen(
    row: Dataset, train: Split | ImageFiles, indices: np.ndarray, image_size: int | None
) -> dict[str, Any]:
    """Height and width of the network's input, and the channels' mean and standard deviation."""
    if isinstance(train, ImageFiles):
        size, mean, std = [image_size or row.image_size] * 2, row.mean, row.std
    else:
        size, (mean, std) = list(train.images_NHWC.shape[1:3]), channel_stats(train, indices)
    return {"image_size": size, "mean": mean and list(mean), "std": std and list(std)}


def _check_sizes(
    num_train: int, num_test: int, train_size: int | None, val_size: int, test_size: int | None
) -> None:
    if (train_size or 1) + val_size > num_train:
        asked = (
            f"data.train_size={train_size} with data.val_size={val_size}"
            if train_size
            else f"data.val_size={val_size}"
        )
        raise UserError(
            f"{asked} is too much: the training split has only {num_train} images in all; lower one"
        )
    if test_size is not None and test_size > num_test:
        raise UserError(
            f"data.test_size={test_size} is too much: the test split has only {num_test} images; lower it"
        )


def channel_stats(split: Split, indices: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel over the images at ``indices``, pixels in [0, 1], 6 digits.

    From a histogram of the 256 values, so the sums are exact and the result is the same on every machine.
    """
    histogram_CV = np.zeros((3, 256), np.int64)
    for start in range(0, len(indices), CHUNK):
        images_NHWC = split.images_NHWC[indices[start : start + CHUNK]]
        for channel, counts in enumerate(histogram_CV):
            counts += np.bincount(images_NHWC[..., channel].ravel(), minlength=256)
    value = np.arange(256) / 255
    total = histogram_CV.sum(axis=1)
    mean = (histogram_CV * value).sum(axis=1) / total
    std = np.sqrt((histogram_CV * (value - mean[:, None]) ** 2).sum(axis=1) / total)
    return [round(float(m), 6) for m in mean], [round(float(s), 6) for s in std]


def file_md5(path: Path) -> str:
    """md5 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
