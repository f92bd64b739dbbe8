"""Any folder of images, in ImageNet's layout: by class folder, or by list. The images stay in their files."""

import os
from pathlib import Path

import numpy as np

from granet.common.files import one_line
from granet.data.labels import Entries, Listing, class_names, numbers_of
from granet.data.root import found_at
from granet.data.split import ImageFiles, Request, Source
from granet.types import UserError

SPLITS = ("train", "val", "test")
JUNK = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "lost+found")
"""What operating systems leave in folders, beside hidden files; in small letters."""


def image_files(request: Request) -> Source[ImageFiles]:
    """root/train/<class>/* for training; root/val/<class>/*, or root/test where there is no val, for testing.

    Where root/train.txt (or val.txt, test.txt) is there, it lists that split instead: a line per image, its path
    relative to root/train and its class, by name or by number, see `numbers_of`. Classes are in alphabetical order;
    numbers without folders are their own order. Hidden files and operating systems' own are passed over. Raises
    UserError for a missing folder or list, with what is there instead, a class in only one of the splits, numbers whose
    meaning is open, and a line that is not a path and a class.
    """
    if (root := request.root) is None:
        raise UserError(
            "data.root is not set; set it to a folder that holds train/<class>/* and val/<class>/*"
        )
    train = _listing(root, "train")
    test = _listing(root, next((name for name in SPLITS[1:] if _there(root, name)), "val"))
    classes = class_names(train, test)
    trained = numbers_of(train, classes, {})
    tested = numbers_of(test, classes, trained if train.by_list and train.is_numeric else {})
    _check(root, classes, test, trained, tested)
    return Source(train=_files(root, train, trained), test=_files(root, test, tested), classes=tuple(classes))


def _check(
    root: Path, classes: list[str], test: Listing, trained: dict[str, int], tested: dict[str, int]
) -> None:
    """Raises UserError where the splits have different classes."""
    fix = "give both splits the same classes"
    if unknown := sorted(test.labels - set(tested)):
        count = f", or count them from 0 to {len(classes) - 1}" if test.by_list and test.is_numeric else ""
        name = one_line(unknown[0])
        raise UserError(f"data.root={root}: class {name} is in {test.split} but not in train; {fix}{count}")
    for place, name in enumerate(map(one_line, classes)):
        if place not in trained.values():
            raise UserError(f"data.root={root}: class {name} has no image in train; count without a gap")
        if place not in tested.values():
            raise UserError(f"data.root={root}: class {name} is in train but not in {test.split}; {fix}")


def _files(root: Path, listing: Listing, numbers: dict[str, int]) -> ImageFiles:
    labels = np.array([numbers[label] for _, label in listing.entries], np.int64)
    return ImageFiles(root / listing.split, [name for name, _ in listing.entries], labels)


def _there(root: Path, split: str) -> bool:
    return (root / split).is_dir() or (root / f"{split}.txt").is_file()


def _listing(root: Path, split: str) -> Listing:
    """Raises UserError where there is neither a list nor a folder with images."""
    folder, list_file = root / split, root / f"{split}.txt"
    by_list = list_file.is_file()
    entries = _listed(list_file) if by_list else _in_folders(folder)
    if not entries:
        found = f"{folder}: {found_at(folder, ())}" if folder.is_dir() else found_at(root, SPLITS)
        raise UserError(
            f"data.root={root}: no images in class folders {split}/<class>, nor in {list_file.name}; {found}; "
            "a folder of images is train/<class>/* and val/<class>/*, or lists of them"
        )
    return Listing(split, str(list_file if by_list else folder), by_list, entries)


def _listed(list_file: Path) -> Entries:
    try:
        lines = enumerate(list_file.read_text("utf-8-sig").splitlines(), start=1)
    except UnicodeDecodeError as error:
        raise UserError(f"{list_file} is not UTF-8 text ({error.reason}); convert it") from error
    return [_parse(line, list_file, number) for number, line in lines if line.strip()]


def _parse(line: str, list_file: Path, number: int) -> tuple[str, str]:
    path, *label = line.strip().rsplit(maxsplit=1)
    if not label:
        raise UserError(f"{list_file}:{number}: {line!r} must be a path and a class, with a space between")
    if path.startswith("/") or ".." in path.split("/"):
        raise UserError(
            f"{list_file}:{number}: {path!r} leads out of {list_file.with_suffix('')}; write a path below it"
        )
    return path, label[0]


def _in_folders(folder: Path) -> Entries:
    names = visible(folder)[0] if folder.is_dir() else []
    return [(f"{name}/{file}", name) for name in names for file in images_in(folder / name)]


def visible(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the folders and of the files in a folder, in order; hidden ones and JUNK left out.

    Raises UserError for a link that leads nowhere: it may be one or the other.
    """
    with os.scandir(folder) as entries:
        shown = [entry for entry in entries if entry.name[0] != "." and entry.name.lower() not in JUNK]
        for entry in shown:
            if entry.is_symlink() and not Path(entry).exists():
                raise UserError(f"{one_line(entry.path)}: the link leads nowhere; mend it or remove it")
        visible = sorted((entry.name, entry.is_dir()) for entry in shown)
    return [name for name, is_dir in visible if is_dir], [name for name, is_dir in visible if not is_dir]


def images_in(folder: Path) -> list[str]:
    """The files of a class. Raises UserError where there is none, or a folder among them."""
    folders, files = visible(folder)
    if folders:
        raise UserError(
            f"{one_line(folder / folders[0])}: a class folder holds images alone; move them up, or write a list"
        )
    if not files:
        raise UserError(f"{one_line(folder)} has no images; add some or remove the folder")
    return files
