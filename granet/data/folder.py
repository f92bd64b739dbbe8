"""Any folder of images, in ImageNet's layout: by class folder, or by list. The images stay in their files."""

import os
from pathlib import Path

import numpy as np

from granet.data.split import ImageFiles, Request, Source
from granet.types import UserError

Entries = list[tuple[str, str]]
"""(name of a file relative to its split's folder, label as it is written)."""


def image_files(request: Request) -> Source[ImageFiles]:
    """root/train/<class>/* for training; root/val/<class>/*, or root/test where there is no val, for testing.

    Where root/train.txt (or val.txt, test.txt) is there, it lists that split instead: a line per image, its path
    relative to root/train and its class, by name or by number in the order of the classes. Classes are in alphabetical
    order; numbers without folders are their own order. Hidden files are passed over. Raises UserError for a missing
    folder or list, a class in only one of the splits, and a line that is not a path and a class.
    """
    if (root := request.root) is None:
        raise UserError(
            "data.root is not set; set it to a folder that holds train/<class>/* and val/<class>/*"
        )
    test = next((name for name in ("val", "test") if _there(root, name)), "val")
    train_entries, test_entries = _entries(root, "train"), _entries(root, test)
    classes = _classes(train_entries, root)
    number = _numbers(classes, {label for _, label in train_entries + test_entries})
    for label in sorted({label for _, label in test_entries} - set(number)):
        raise UserError(
            f"data.root={root}: class {label} is in {test} but not in train; give both splits the same classes"
        )
    tested = {number[label] for _, label in test_entries}
    for index, name in enumerate(classes):
        if index not in tested:
            raise UserError(
                f"data.root={root}: class {name} is in train but not in {test}; give both splits the same classes"
            )
    return Source(
        train=_files(root / "train", train_entries, number),
        test=_files(root / test, test_entries, number),
        classes=tuple(classes),
    )


def _files(folder: Path, entries: Entries, number: dict[str, int]) -> ImageFiles:
    labels = np.array([number[label] for _, label in entries], np.int64)
    return ImageFiles(folder, [name for name, _ in entries], labels)


def _numbers(classes: list[str], labels: set[str]) -> dict[str, int]:
    """The class that each label means: its name, its number, or its number with zeros before it, as 007.

    >>> _numbers(["cat", "dog"], {"dog", "01"})
    {'0': 0, '1': 1, 'cat': 0, 'dog': 1, '01': 1}
    """
    number = {str(index): index for index in range(len(classes))}
    number |= {name: index for index, name in enumerate(classes)}
    padded = {label for label in labels - set(number) if label.isdecimal() and str(int(label)) in number}
    return number | {label: number[str(int(label))] for label in padded}


def _there(root: Path, split: str) -> bool:
    return (root / split).is_dir() or (root / f"{split}.txt").is_file()


def _entries(root: Path, split: str) -> Entries:
    """Raises UserError where there is neither a list nor a folder with images."""
    if (list_file := root / f"{split}.txt").is_file():
        try:
            lines = enumerate(list_file.read_text("utf-8-sig").splitlines(), start=1)
        except UnicodeDecodeError as error:
            raise UserError(f"{list_file} is not UTF-8 text ({error.reason}); convert it") from error
        entries = [_parse(line, list_file, number) for number, line in lines if line.strip()]
    else:
        folders = _visible(root / split)[0] if (root / split).is_dir() else []
        entries = [(f"{name}/{file}", name) for name in folders for file in _images(root / split / name)]
    if not entries:
        raise UserError(
            f"data.root={root}: {root / split} has no images in class folders, and there is no {list_file.name}; "
            "a folder of images is train/<class>/* and val/<class>/*, or lists of them"
        )
    return entries


def _parse(line: str, list_file: Path, number: int) -> tuple[str, str]:
    path, *label = line.strip().rsplit(maxsplit=1)
    if not label:
        raise UserError(f"{list_file}:{number}: {line!r} must be a path and a class, with a space between")
    return path, label[0]


def _visible(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the folders and of the files in a folder, in order; hidden ones left out."""
    with os.scandir(folder) as entries:
        visible = sorted((e.name, e.is_dir()) for e in entries if not e.name.startswith("."))
    return [name for name, is_dir in visible if is_dir], [name for name, is_dir in visible if not is_dir]


def _images(folder: Path) -> list[str]:
    """The files of a class. Raises UserError where there is none, or a folder among them."""
    folders, files = _visible(folder)
    if folders:
        raise UserError(
            f"{folder / folders[0]}: a class folder holds images alone; move them up, or write a list"
        )
    if not files:
        raise UserError(f"{folder} has no images; add some or remove the folder")
    return files


def _classes(entries: Entries, root: Path) -> list[str]:
    """Names in alphabetical order; where all labels are numbers and no folders, all numbers up to the largest.

    >>> _classes([("a/x.jpg", "a"), ("b/y.jpg", "b")], Path()), _classes([("x.jpg", "2"), ("y.jpg", "0")], Path())
    (['a', 'b'], ['0', '1', '2'])
    """
    labels = {label for _, label in entries}
    folders = {name.removeprefix("./").partition("/")[0] for name, _ in entries if "/" in name}
    if folders == labels or not all(label.isdecimal() for label in labels):
        return sorted(labels)
    numbers = set(map(int, labels))
    if 0 not in numbers:
        raise UserError(
            f"data.root={root}: the classes of train.txt start at {min(numbers)}; count them from 0"
        )
    if len(folders) == max(numbers) + 1:
        return sorted(folders)
    return [str(index) for index in range(max(numbers) + 1)]
