"""Where images come from, how many, and how they are stored and read."""

from dataclasses import dataclass

from granet.common.keys import check_keys, key

LOADERS = ("ffcv", "resident", "auto")
"""Names of the ways to read a prepared data set; `granet.data.build_loader` has them."""
MAX_SIDE = 4096
"""Of a stored image, pixels: keeps it within a 64 MiB page of a .beton."""


@dataclass
class DataConfig:
    """Where images come from, and how many. Prepared once per dataset, but for loader and num_workers."""

    root: str | None = key(None, "folder of the raw data; null: data/raw")
    train_size: int | None = key(
        None, "training images, class-balanced; null: all that are not held out", at_least=1
    )
    val_size: int | None = key(
        None,
        "images held out of the training set; null: the dataset's own (cifar10: 5000), 0 where train_size is set",
        at_least=0,
    )
    test_size: int | None = key(None, "test images, class-balanced; null: all", at_least=1)
    image_size: int | None = key(
        None,
        "height and width that the network sees, pixels; null: digits 32, imagenet 224, the images' own",
        at_least=16,
        at_most=MAX_SIDE,
    )
    max_side: int = key(
        500, "imagenet: longer side of a stored image at most, pixels", at_least=1, at_most=MAX_SIDE
    )
    jpeg_quality: int = key(90, "imagenet: of stored images, 1 to 100", at_least=1, at_most=100)
    raw_share: float = key(
        0.0, "imagenet: share of images stored as pixels, larger but faster to read", at_least=0, at_most=1
    )
    classes: str | None = key(
        None, "imagenet100: file with a class folder's name a line; null: imagenet100.txt of the raw data"
    )
    label: str | None = key(None, "huggingface: column of the labels; null: the only one of classes")
    seed: int = key(0, "of the subset and the held-out images")
    verify: bool = key(True, "check the md5 of the files of cifar10, cifar100, svhn, fashion_mnist")
    loader: str = key(
        "auto",
        "ffcv | resident (all images on the device) | auto",
        choices=LOADERS,
        decides_result=False,
    )
    num_workers: int = key(0, "decoding threads of ffcv; 0: one per core", at_least=0, decides_result=False)

    def __post_init__(self) -> None:
        check_keys("data", self)
