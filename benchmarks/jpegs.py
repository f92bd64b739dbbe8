"""An epoch's batches of JPEGs, decoded, cropped at random and flipped: the pipeline's way, and torchvision's."""

from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from benchmarks.pairs import Row, compare, timed
from granet.common.seeds import stable_seed
from granet.data import DataConfig, open_data, prepare

SIZES = {"train": 64, "val": 4}
"""Images of each class."""
SIDE, BATCH = 224, 32


def photographs(folder: Path) -> Path:
    """The two photographs that come with scikit-learn, each a class, cut to 500 x 375 pixels in many places."""
    from sklearn.datasets import load_sample_images

    for name, pixels_HWC in zip(("china", "flower"), load_sample_images().images, strict=True):
        height, width, _ = pixels_HWC.shape
        for split, number in SIZES.items():
            (folder / split / name).mkdir(parents=True)
            for index in range(number):
                top, left = index % (height - 375), 7 * index % (width - 500)
                image = Image.fromarray(pixels_HWC[top : top + 375, left : left + 500])
                image.save(folder / split / name / f"{index}.jpg", quality=90)
    return folder


def rows(folder: Path, pairs: int) -> list[Row]:
    """torchvision's ImageFolder in a DataLoader of two processes, over FFCV in as many threads."""
    root = photographs(folder / "jpegs")
    prepare("imagenet", folder / "prepared", DataConfig(root=str(root)))
    data = open_data(
        folder / "prepared",
        loader="ffcv",
        batch_size=BATCH,
        seed=0,
        device=torch.device("cpu"),
        num_workers=2,
    )
    generator = torch.Generator().manual_seed(stable_seed("benchmark"))

    def ours() -> None:
        for images, _ in data.train.epoch(0):
            data.augment.train(images, generator)

    steps = [v2.RandomResizedCrop(SIDE), v2.RandomHorizontalFlip(), v2.ToImage()]
    scaled = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(data.augment.mean, data.augment.std)]
    pictures = ImageFolder(str(root / "train"), v2.Compose([*steps, *scaled]))
    usual = DataLoader(pictures, BATCH, shuffle=True, num_workers=2, persistent_workers=True)
    what = f"an epoch's batches, {len(pictures)} JPEGs of 500 x 375 to {SIDE} x {SIDE}: ImageFolder / ours"
    return [compare(what, timed(lambda: list(usual)), timed(ours), pairs)]
