"""Photographs in the ImageNet layout: real ones where they are at hand, else generated ones, as JPEG files."""

from pathlib import Path

import numpy as np
from PIL import Image

from tests.helpers import real_data


def photographs(folder: Path) -> Path:
    """The folder of train/<class>/* and val/<class>/* to test with: ten classes, 40 and 20 images of each."""
    return real_data.folder("imagenette") or write_photographs(
        folder, num_classes=10, num_train=40, num_val=20
    )


def write_photographs(folder: Path, *, num_classes: int = 3, num_train: int = 6, num_val: int = 2) -> Path:
    """Images whose smooth pattern tells their class, of sizes between 60 and 140 pixels."""
    rng = np.random.default_rng(0)
    for split, number in (("train", num_train), ("val", num_val)):
        for label in range(num_classes):
            (folder / split / f"n{label:04}").mkdir(parents=True)
            for index in range(number):
                height, width = rng.integers(60, 141, 2)
                y, x = np.mgrid[:height, :width] / 20
                waves = [
                    np.sin(x * (1 + label) + phase) * np.cos(y * (1 + label))
                    for phase in rng.uniform(0, 3, 3)
                ]
                pixels = np.uint8(
                    np.clip(128 + 90 * np.stack(waves, -1) + rng.normal(0, 9, (height, width, 3)), 0, 255)
                )
                Image.fromarray(pixels).save(folder / split / f"n{label:04}" / f"{index:03}.JPEG", quality=95)
    return folder
