"""CIFAR-10 and CIFAR-100 from the official python archives, through torchvision's reader."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from granet.data.split import Request, Source, Split
from granet.types import UserError

SIZE = 32


def cifar(reader: str, request: Request) -> Source:
    """The data set that torchvision calls ``reader`` (CIFAR10 or CIFAR100), from the unpacked archive in request.root.

    Every file must have its official md5. With ``request.verify`` false any files in the same layout are read: the
    way to feed other images through this path. They are pickles, so only read files you trust. Raises UserError
    for a missing, damaged or unreadable file.
    """
    from torchvision import datasets

    official = getattr(datasets, reader)
    if request.image_size not in (None, SIZE):
        raise UserError(
            f"data.image_size={request.image_size} but {reader} images are {SIZE} x {SIZE}; set data.image_size=null"
        )
    if request.root is None:
        raise UserError(f"data.root is not set; {_get_archive(official)}")
    _check_files(official, request.root, request.verify)
    unchecked = _without_md5(official)
    try:
        with warnings.catch_warnings():
            # The official pickles hold dtypes in a spelling that NumPy 2.4 has deprecated.
            warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
            train, test = (unchecked(request.root, train=train, download=False) for train in (True, False))
        return Source(_split(train), _split(test), tuple(train.classes))
    except Exception as error:  # a damaged pickle can raise anything
        reason = " ".join(str(error).split())
        raise UserError(
            f"data.root={request.root}: {official.base_folder} cannot be read ({reason}); {_get_archive(official)}"
        ) from error


def _split(read: Any) -> Split:
    return Split(np.ascontiguousarray(read.data), np.array(read.targets, dtype=np.int64))


def _get_archive(official: Any) -> str:
    return f"download {official.filename} and unpack it under data.root, or set data.root to where it is"


def _files(official: Any) -> list[tuple[str, str]]:
    meta = official.meta
    return [*official.train_list, *official.test_list, (meta["filename"], meta["md5"])]


def _check_files(official: Any, root: Path, verify: bool) -> None:
    from torchvision.datasets.utils import check_integrity

    for name, md5 in _files(official):
        path = root / official.base_folder / name
        if not path.is_file():
            raise UserError(f"data.root={root}: {path} is missing; {_get_archive(official)}")
        if verify and not check_integrity(path, md5):
            raise UserError(
                f"data.root={root}: {path} is not the official file (its md5 differs: cut short or changed); unpack "
                f"{official.filename} again, or set data.verify=false to read other images in CIFAR's layout"
            )


def _without_md5(official: Any) -> Any:
    """torchvision's reader with its md5 table emptied: `_check_files` has read the files once already."""
    return type(
        official.__name__,
        (official,),
        {
            "train_list": [[name, None] for name, _ in official.train_list],
            "test_list": [[name, None] for name, _ in official.test_list],
            "meta": {**official.meta, "md5": None},
        },
    )
