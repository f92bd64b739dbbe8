"""ImageNet, or any set of photographs of many sizes: by class folder, or by list. The images stay in their files."""

import os
from pathlib import Path

import numpy as np

from granet.data.split import ImageFiles, Request, Source
from granet.types import UserError

Entries = list[tuple[str, str]]
"""(name of a file relative to its split's folder, label as it is written)."""


def imagenet(request: Request) -> Source[ImageFiles]:
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
    classes = _classes(train_entries)
    number = {str(index): index for index in range(len(classes))} | {c: i for i, c in enumerate(classes)}
    for label in sorted({label for _, label in test_entries} - set(number)):
        raise UserError(
            f"data.root={root}: class {label} is in {test} but not in train; give both splits the same classes"
        )
    labels = [np.array([number[label] for _, label in e], np.int64) for e in (train_entries, test_entries)]
    if missing := sorted(set(range(len(classes))) - set(labels[1].tolist())):
        raise UserError(
            f"data.root={root}: class {classes[missing[0]]} is in train but not in {test}; "
            "give both splits the same classes"
        )
    train, held = (
        ImageFiles(root / folder, [name for name, _ in entries], own)
        for folder, entries, own in zip(("train", test), (train_entries, test_entries), labels, strict=True)
    )
    return Source(train, held, tuple(classes))


def _there(root: Path, split: str) -> bool:
    return (root / split).is_dir() or (root / f"{split}.txt").is_file()


def _entries(root: Path, split: str) -> Entries:
    """Raises UserError where there is neither a list nor a folder with images."""
    if (list_file := root / f"{split}.txt").is_file():
        lines = enumerate(list_file.read_text().splitlines(), start=1)
        entries = [_parse(line, list_file, number) for number, line in lines if line.strip()]
    else:
        entries = [
            (f"{name}/{file}", name)
            for name in _visible(root / split, directories=True)
            for file in _visible(root / split / name, directories=False)
        ]
    if not entries:
        raise UserError(
            f"data.root={root}: {root / split} has no images in class folders, and there is no {list_file.name}; "
            "imagenet is train/<class>/* and val/<class>/*, or lists of them"
        )
    return entries


def _parse(line: str, list_file: Path, number: int) -> tuple[str, str]:
    path, _, label = line.strip().rpartition(" ")
    if not path:
        raise UserError(f"{list_file}:{number}: {line!r} must be a path and a class, with a space between")
    return path.strip(), label


def _visible(folder: Path, *, directories: bool) -> list[str]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir() == directories)


def _classes(entries: Entries) -> list[str]:
    """Names in alphabetical order; where all labels are numbers and no folders, all numbers up to the largest.

    >>> _classes([("a/x.jpg", "a"), ("b/y.jpg", "b")]), _classes([("x.jpg", "2"), ("y.jpg", "0")])
    (['a', 'b'], ['0', '1', '2'])
    """
    labels = {label for _, label in entries}
    folders = {name.partition("/")[0] for name, _ in entries if "/" in name}
    if folders == labels or not all(label.isdigit() for label in labels):
        return sorted(labels)
    if folders and len(folders) == max(map(int, labels)) + 1:
        return sorted(folders)
    return [str(index) for index in range(max(map(int, labels)) + 1)]
