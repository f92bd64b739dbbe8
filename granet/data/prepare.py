"""From a data set to the files that training reads: a .beton per split and index.json, which describes them."""

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from granet.data import beton, jpeg
from granet.data.config import DataConfig
from granet.data.datasets import DATASETS, Dataset
from granet.data.index import FILE, write_index
from granet.data.pixels import tell_of_turned
from granet.data.root import expanded
from granet.data.split import ImageFiles, Request, Source, Split
from granet.data.subset import balanced, hold_out
from granet.types import UserError

CHUNK = 4096
CENTRE = 224 / 256
"""Share of the shorter side that the square covers which is evaluated, where images are cropped."""


def prepare(dataset: str, out: Path, config: DataConfig, *, parts: Path | None = None) -> dict[str, Any]:
    """Write out/train.beton, out/val.beton (where images are held out), out/test.beton and out/index.json.

    ``config.train_size`` counts the images trained on; None is all that are not held out. ``config.val_size`` images
    are held out of the training split; None is the data set's own number where all of it is used, else 0.
    ``config.test_size`` None is all. Smaller sets are class-balanced and depend on ``config.seed``. Equal arguments
    give equal bytes. Returns the index.
    Photographs of many sizes stay encoded; what is done of them lies in ``parts`` (None: beside ``out``) until all is,
    so that a killed run goes on. Raises UserError for sizes the data cannot fill, an unknown data set, and unreadable
    data.
    """
    if dataset not in DATASETS:
        raise UserError(f"dataset={dataset!r} is unknown; choose from {', '.join(DATASETS)}")
    row = DATASETS[dataset]
    root = None if config.root is None else expanded(config.root)
    classes = None if config.classes is None else expanded(config.classes, "data.classes")
    source = row.load(Request(root, config.image_size, config.verify, classes, config.label))
    chosen = _chosen(row, source, config)

    (out / FILE).unlink(missing_ok=True)
    (out / "val.beton").unlink(missing_ok=True)
    parts = parts or out.with_name(f".{out.name}-parts")
    packing = jpeg.Packing(config.max_side, config.jpeg_quality, config.raw_share)
    served, num_turned = [], 0
    for name, (split, indices) in chosen.items():
        if isinstance(split, ImageFiles):
            packed = jpeg.write(out / f"{name}.beton", split, indices, packing, parts)
            served, num_turned = served + packed.parts, num_turned + packed.num_turned
        else:
            beton.write(out / f"{name}.beton", split, indices)
    tell_of_turned(num_turned, sum(len(indices) for _, indices in chosen.values()))

    index = {
        "dataset": dataset,
        "classes": list(source.classes),
        "num_images": {name: len(indices) for name, (_, indices) in chosen.items()},
        **_what_is_seen(row, *chosen["train"], config.image_size),
        "padding": row.padding,
        "mode": row.mode,
        "flip": row.flip,
        **({"centre": CENTRE} if row.crops else {}),
        "source_md5": source.md5,
        "md5": {f"{name}.beton": file_md5(out / f"{name}.beton") for name in chosen},
    }
    index = write_index(out, index)
    for part in [*served, *parts.glob("*.tmp")]:  # others may belong to a larger set that was interrupted
        part.unlink(missing_ok=True)
    with suppress(OSError):
        parts.rmdir()
    return index


def _chosen(
    row: Dataset, source: Source[Any], config: DataConfig
) -> dict[str, tuple[Split | ImageFiles, np.ndarray]]:
    """By name of the new split: the source's split, and which of its images; splits without images are left out."""
    val_size, test_size = config.val_size, config.test_size
    if val_size is None:
        val_size = row.val_size if config.train_size is None else 0
    _check_sizes(len(source.train), len(source.test), config.train_size, val_size, test_size)
    train, val = hold_out(source.train.labels, config.train_size, val_size, config.seed)
    num_test = len(source.test) if test_size is None else test_size
    test = balanced(source.test.labels, num_test, "test", config.seed)
    chosen = {"train": (source.train, train), "val": (source.train, val), "test": (source.test, test)}
    return {name: (split, indices) for name, (split, indices) in chosen.items() if len(indices)}


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
        sizes = f"data.train_size={train_size} with " if train_size else ""
        raise UserError(
            f"{sizes}data.val_size={val_size} is too much: the training split has only {num_train} images in all; "
            "lower one"
        )
    if test_size is not None and test_size > num_test:
        raise UserError(
            f"data.test_size={test_size} is too much: the test split has only {num_test} images; lower it"
        )


def channel_stats(split: Split, indices: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel over the images at ``indices``, pixels in [0, 1], 6 digits.

    From a histogram of the 256 values, so the sums are exact and the result is the same on every machine. A constant
    channel has the deviation 1, by which nothing is scaled.
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
    return [round(float(m), 6) for m in mean], [round(float(s), 6) or 1.0 for s in std]


def file_md5(path: Path) -> str:
    """md5 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
