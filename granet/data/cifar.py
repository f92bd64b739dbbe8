"""CIFAR-10 and CIFAR-100 from the official python archives; names and md5s are torchvision's."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from granet.data.root import found_at
from granet.data.split import Request, Source, Split
from granet.data.unpickling import load
from granet.types import UserError

SIZE = 32


def cifar(name: str, request: Request) -> Source[Split]:
    """The data set that torchvision calls ``name`` (CIFAR10 or CIFAR100), from the archive unpacked in request.root.

    Every file must have its official md5. With ``request.verify`` false any files in the same layout are read: the
    way to feed other images through this path. They are pickles, of which only arrays and plain values are read
    (`granet.data.unpickling`). Raises UserError for a missing, damaged or unreadable file.
    """
    from torchvision import datasets

    official = getattr(datasets, name)
    if request.image_size not in (None, SIZE):
        raise UserError(
            f"data.image_size={request.image_size} but {name} images are {SIZE} x {SIZE}; set data.image_size=null"
        )
    if request.root is None:
        raise UserError(f"data.root is not set; {_get_archive(official, Path('data.root'))}")
    _check_files(official, request.root, request.verify)
    folder = request.root / official.base_folder
    try:
        train, test = (_split(folder, files) for files in (official.train_list, official.test_list))
        classes = [_text(word) for word in _load(folder / official.meta["filename"])[official.meta["key"]]]
        return Source(train, test, tuple(classes))
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:  # damaged, or something else altogether
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(
            f"data.root={request.root}: {folder} cannot be read ({reason}); {_get_archive(official, request.root)}"
        ) from error


def _get_archive(official: Any, root: Path) -> str:
    if (root / official.filename).is_file():
        return f"unpack {official.filename} there"
    return f"download {official.filename} and unpack it under data.root, or set data.root to where it is"


def _check_files(official: Any, root: Path, verify: bool) -> None:
    from torchvision.datasets.utils import check_integrity

    meta = official.meta
    for name, md5 in [*official.train_list, *official.test_list, (meta["filename"], meta["md5"])]:
        path = root / official.base_folder / name
        if not path.is_file():
            folder, parts = (path.parent, ()) if path.parent.is_dir() else (root, (official.base_folder,))
            found = f"{folder}: {found_at(folder, parts)}"
            raise UserError(f"data.root={root}: {path} is missing; {found}; {_get_archive(official, root)}")
        if verify and not check_integrity(path, md5):
            raise UserError(
                f"data.root={root}: {path} is not the official file (its md5 differs: cut short or changed); unpack "
                f"{official.filename} again, or set data.verify=false to read other images in CIFAR's layout"
            )


def _split(folder: Path, files: list[list[str]]) -> Split:
    entries = [_load(folder / name) for name, _ in files]
    planes_NP = np.concatenate(
        [entry["data"] for entry in entries]
    )  # P: all red pixels, then green, then blue
    labels = [label for entry in entries for label in entry["labels" if "labels" in entry else "fine_labels"]]
    images_NHWC = planes_NP.reshape(-1, 3, SIZE, SIZE).transpose(0, 2, 3, 1)
    return Split(np.ascontiguousarray(images_NHWC), np.array(labels, dtype=np.int64))


def _load(path: Path) -> dict[str, Any]:
    """One pickled dict. The official ones come from Python 2, whose keys are bytes here; other writers' are text."""
    with path.open("rb") as file, warnings.catch_warnings():
        # The official pickles spell dtypes in a way that NumPy 2.4 has deprecated.
        warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
        try:
            return {_text(key): value for key, value in load(file).items()}
        except Exception as error:  # a damaged pickle can raise anything
            if isinstance(error, OSError):
                raise
            raise ValueError(f"{path.name}: {type(error).__name__}: {error}") from error


def _text(word: bytes | str) -> str:
    return word.decode() if isinstance(word, bytes) else word
