"""The data sets. One is a row: how to read it, how much to hold out, how to augment it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from granet.data.cifar import cifar
from granet.data.digits import NUM_TRAIN, digits
from granet.data.folder import image_files
from granet.data.sources import fashion_mnist, hugging_face, imagenet100, svhn, tiny_imagenet
from granet.data.split import Request, Source
from granet.data.squares import image_squares


@dataclass(frozen=True)
class Dataset:
    """``padding`` (pixels) and ``mode`` are those of the random crop; ``flip``: mirror half of the images.

    ``crops``: the images have many sizes and stay encoded; training sees a random part of each, resized.
    """

    name: str
    load: Callable[[Request], Source[Any]]
    num_train: int | None
    """Images of the training set; None where only the files tell."""
    val_size: int
    """Images held out where all of the training set is used."""
    padding: int
    mode: Literal["reflect", "zero"]
    flip: bool
    crops: bool = False
    image_size: int | None = None
    """What crops are resized to where data.image_size says nothing, pixels."""
    mean: tuple[float, float, float] | None = None
    """Of each channel, pixels in [0, 1]; None: that of the training images."""
    std: tuple[float, float, float] | None = None


# Mean and deviation are the ones that everybody uses.
IMAGENET = Dataset(
    "imagenet",
    image_files,
    1_281_167,
    val_size=0,
    padding=0,
    mode="zero",
    flip=True,
    crops=True,
    image_size=224,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
DATASETS: dict[str, Dataset] = {
    row.name: row
    for row in (
        Dataset("digits", digits, NUM_TRAIN, val_size=0, padding=4, mode="zero", flip=False),
        # GraNet trains on 45,000 of CIFAR-10's images; the padding modes are those of its code.
        Dataset(
            "cifar10", partial(cifar, "CIFAR10"), 50_000, val_size=5_000, padding=4, mode="reflect", flip=True
        ),
        Dataset(
            "cifar100", partial(cifar, "CIFAR100"), 50_000, val_size=0, padding=4, mode="zero", flip=True
        ),
        # As Zagoruyko & Komodakis 2016 have it: digits are read from left to right, and nothing is augmented.
        Dataset("svhn", svhn, 73_257, val_size=0, padding=0, mode="zero", flip=False),
        Dataset("fashion_mnist", fashion_mnist, 60_000, val_size=0, padding=4, mode="zero", flip=True),
        # Crop and flip as in GraSP (Wang et al. 2020), whose tables have this data set.
        Dataset("tiny_imagenet", tiny_imagenet, 100_000, val_size=0, padding=4, mode="zero", flip=True),
        Dataset("imagefolder", image_squares, None, val_size=0, padding=4, mode="zero", flip=True),
        Dataset("huggingface", hugging_face, None, val_size=0, padding=4, mode="zero", flip=True),
        IMAGENET,
        replace(IMAGENET, name="imagenet100", load=imagenet100, num_train=None),
    )
}
