"""The data sets. One is a row: how to read it, how much to hold out, how to augment it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from granet.data.cifar import cifar
from granet.data.digits import NUM_TRAIN, digits
from granet.data.image_folder import image_folder
from granet.data.split import Request, Source


@dataclass(frozen=True)
class Dataset:
    """``padding`` (pixels) and ``mode`` are those of the random crop; ``flip``: mirror half of the images."""

    name: str
    load: Callable[[Request], Source]
    num_train: int | None
    """Images of the training set; None where only the files tell."""
    val_size: int
    """Images held out where all of the training set is used."""
    padding: int
    mode: Literal["reflect", "zero"]
    flip: bool


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
        Dataset("imagefolder", image_folder, None, val_size=0, padding=4, mode="zero", flip=True),
    )
}
