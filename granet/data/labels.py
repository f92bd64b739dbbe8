"""Which classes a folder of images has, and which of them a label means: by a class's name, or by its number.

The trouble is with names that are numbers: where class folders are 1, 2, 3 and a list counts from 0, its 1 is folder 2.
So one reading holds for all labels of a split, and what its own paths show comes first.
"""

import re
from dataclasses import dataclass
from functools import cached_property

from granet.types import UserError

Entries = list[tuple[str, str]]
"""(name of a file relative to its split's folder, label as it is written)."""


@dataclass(frozen=True)
class Listing:
    """The ``entries`` of a split, and their ``source``: a list, or the folder that holds the class folders."""

    split: str
    source: str
    by_list: bool
    entries: Entries

    @cached_property
    def labels(self) -> set[str]:
        """All labels."""
        return {label for _, label in self.entries}

    @cached_property
    def is_numeric(self) -> bool:
        """Whether all labels are numbers."""
        return all(label.isdecimal() for label in self.labels)

    @cached_property
    def folders(self) -> set[str]:
        """The outermost folders of the files."""
        return {folder for name, _ in self.entries if (folder := _folder(name))}

    @cached_property
    def pairs(self) -> dict[str, str]:
        """The folder of each label, where one folder holds all images of a label, and no others; else nothing.

        >>> Listing("train", "train.txt", True, [("2/x.png", "1"), ("1/y.png", "0")]).pairs
        {'1': '2', '0': '1'}
        """
        pairs = {(label, _folder(name)) for name, label in self.entries}
        one_to_one = len(pairs) == len(self.labels) == len(self.folders) and all(f for _, f in pairs)
        return {label: _folder(name) for name, label in self.entries} if one_to_one else {}


def class_names(train: Listing, test: Listing) -> list[str]:
    """Names in alphabetical order; where they are numbers without folders of their own, all up to the largest.

    Raises UserError for numbers that do not start at 0.
    """
    if not (train.by_list and train.is_numeric) or train.folders == train.labels:
        return sorted(train.labels)
    numbers, pairs = set(map(int, train.labels)), train.pairs
    if pairs and all(folder.isdecimal() and int(folder) == int(label) for label, folder in pairs.items()):
        return sorted(train.folders)  # 7 for 007
    if 0 not in numbers:
        raise UserError(
            f"{train.source}: the classes of train.txt start at {min(numbers)}; count them from 0"
        )
    all_there = len(train.folders) == max(numbers) + 1
    if all_there and (pairs or test.labels <= train.folders):
        return sorted(train.folders)
    return [str(number) for number in range(max(numbers) + 1)]


def numbers_of(listing: Listing, classes: list[str], known: dict[str, int]) -> dict[str, int]:
    """The class that each label means, as its place in ``classes``; a label that means none is left out.

    ``known`` are the places of the other split's labels, where a list gives those as numbers. Numbers mean, in this
    order: the class folders that their own images lie in, what they mean in the other list, names, names with zeros
    before them, places in the alphabetical order. Raises UserError where that is open: 1, 10, 2 or 1, 2, 10.

    >>> numbers_of(Listing("val", "val.txt", True, [("x.png", "dog"), ("y.png", "00")]), ["cat", "dog"], {})
    {'00': 0, 'dog': 1}
    """
    named = {name: place for place, name in enumerate(classes)}
    labels = sorted(listing.labels)
    names = {label: named[label] for label in labels if label in named}
    by_folder = {label: named[folder] for label, folder in listing.pairs.items() if folder in named}
    if listing.is_numeric:
        for reading in (by_folder, _by_value(labels, known), names, _by_value(labels, named)):
            if len(reading) == len(labels):
                return reading
    places = {label: int(label) for label in labels if label.isdecimal() and int(label) < len(classes)}
    counted = listing.by_list and len(places) == len(labels)  # all of them, from 0
    if not counted and any(name.isdecimal() for name in classes):
        return names
    if places:
        _check_order(classes, listing)
    return places if counted else places | names


def _by_value(labels: list[str], numbers: dict[str, int]) -> dict[str, int]:
    """Labels found among the keys as numbers, 7 as 007; none where a key is no number, or two are equal."""
    values = {int(key): number for key, number in numbers.items() if key.isdecimal()}
    if len(values) < len(numbers):
        return {}
    return {label: values[int(label)] for label in labels if int(label) in values}


def _check_order(classes: list[str], listing: Listing) -> None:
    natural = sorted(
        classes, key=lambda name: [int(t) if t.isdecimal() else t for t in re.split(r"(\d+)", name)]
    )
    if natural != classes:
        raise UserError(
            f"{listing.source}: its numbers may count the classes by the alphabet ({', '.join(classes[:3])}, ...) or "
            f"by their numbers ({', '.join(natural[:3])}, ...); write the classes' names in their place"
        )


def _folder(name: str) -> str:
    """The outermost folder of a file's name; "" where it has none."""
    return name.removeprefix("./").rpartition("/")[0].partition("/")[0]
