"""What `prepare` wrote, opened for training."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from granet.data import beton
from granet.data.augment import Augment
from granet.data.beton import REMEDY
from granet.data.crops import Crop
from granet.data.index import FILE, Index, read_index
from granet.data.loaders import Loader, build_loader
from granet.types import UserError


@dataclass(frozen=True)
class Data:
    """A prepared data set: what the training loop takes."""

    train: Loader
    evaluated: dict[str, Loader]
    """"val", where images are held out, and "test": in file order."""
    augment: Augment
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    """(C, H, W)."""
    md5: str
    """Of index.json, which holds the md5 of every file."""

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)


def open_data(
    folder: Path, *, loader: str, batch_size: int, seed: int, device: torch.device | str, num_workers: int = 0
) -> Data:
    """The data set that `prepare` wrote to ``folder``, read by the ``loader`` of that name.

    ``seed`` decides the order of the training images. Raises UserError where files are missing, damaged, or of another
    format.
    """
    index, md5 = read_index(folder)
    for name in index.num_images:
        _check(folder / f"{name}.beton", index, index.num_images[name])
    crop = Crop(index.image_size[0], index.centre) if index.centre else None
    load = partial(
        build_loader,
        loader,
        batch_size=batch_size,
        seed=seed,
        crop=crop,
        device=device,
        num_workers=num_workers,
    )
    loaders = {name: load(folder / f"{name}.beton", shuffle=name == "train") for name in index.num_images}
    return Data(
        train=loaders.pop("train"),
        evaluated=loaders,
        augment=Augment(index.padding, index.mode, index.flip, index.mean, index.std),
        classes=index.classes,
        image_shape=(3, *index.image_size),
        md5=md5,
    )


def _check(path: Path, index: Index, num_images: int) -> None:
    """Raises UserError where a file is not the one that the index describes."""
    header = beton.check(path)
    if header.num_images != num_images:
        fault = f"{header.num_images} images, not {num_images}"
    elif header.num_classes > len(index.classes):
        fault = f"labels of {header.num_classes} classes, not {len(index.classes)}"
    elif not index.centre and (header.height, header.width) != index.image_size:
        fault = "images of {} x {} pixels, not {} x {}".format(header.height, header.width, *index.image_size)
    else:
        return
    raise UserError(f"{path} has {fault}, as {FILE} has it; {REMEDY}")
