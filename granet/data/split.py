"""Images with labels, in memory or still in their files: what every source gives.

Shapes: N images, H height, W width, C = 3 channels (RGB).
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np


@dataclass(frozen=True, eq=False)
class Split:
    """``images_NHWC`` uint8 RGB, ``labels`` int64 of shape N. Raises ValueError for anything else, or no image."""

    images_NHWC: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        images, labels = self.images_NHWC, self.labels
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3 or images.size == 0:
            raise ValueError(f"images must be uint8 N x H x W x 3, got {images.dtype} {images.shape}")
        if labels.dtype != np.int64 or labels.shape != images.shape[:1]:
            raise ValueError(
                f"{len(images)} images need as many int64 labels, got {labels.dtype} {labels.shape}"
            )

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Images of any size, not read yet: ``names`` are relative to ``folder``, ``labels`` int64 of shape N."""

    folder: Path
    names: list[str]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


Images = TypeVar("Images", Split, ImageFiles)


@dataclass(frozen=True, eq=False)
class Source(Generic[Images]):
    """A data set as its authors publish it. Raises ValueError for a label without a class."""

    train: Images
    test: Images
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        for split in (self.train, self.test):
            low, high = split.labels.min(), split.labels.max()
            if low < 0 or high >= len(self.classes):
                raise ValueError(f"labels must lie in 0..{len(self.classes) - 1}, got {low}..{high}")

    @property
    def md5(self) -> str:
        """md5 over the pixels, or the files' names, and the labels of both splits."""
        digest = hashlib.md5(usedforsecurity=False)
        for split in (self.train, self.test):
            if isinstance(split, Split):
                digest.update(np.ascontiguousarray(split.images_NHWC).data)
            else:
                digest.update(os.fsencode("\n".join(split.names)))
            digest.update(np.ascontiguousarray(split.labels).data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Request:
    """What a source may be asked for: keys of the ``data`` section, image_size in pixels."""

    root: Path | None = None
    image_size: int | None = None
    verify: bool = True
    classes: Path | None = None
    label: str | None = None
