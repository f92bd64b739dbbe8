"""A Hugging Face image data set on disk: as `save_to_disk` leaves it (Arrow), or as the hub stores it (Parquet).

Read by pyarrow alone, column by column; images stay encoded in the files until each is decoded.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from granet.data.pixels import read_picture, tell_of_turned
from granet.data.root import found_at
from granet.data.sources.official import root_of
from granet.data.split import Request, Source, Split
from granet.data.squares import disk_array, square
from granet.types import UserError

TESTS = ("test", "validation", "valid", "val", "dev")
"""Names of the split to test with: the first of these that is there and has labels."""
ROWS = 256
"""Of a Parquet file, decoded at a time."""


def hugging_face(request: Request) -> Source[Split]:
    """The split "train", and the first of `TESTS` whose labels are there (ImageNet's test has -1 in their place).

    The image column is the only one of images, the label column ``request.label`` or the only one of classes. Images
    become RGB squares of ``request.image_size`` pixels as in an imagefolder; None: all have one size, and keep it.
    Classes are the names that the data set has, or else the labels in order. Raises UserError for another layout, a
    column that is open, images that are not in the files, and an unreadable one.
    """
    root = root_of(request, "a data set: dataset_dict.json and a folder per split, or .parquet files")
    splits = _splits(root)
    tests = [name for name in TESTS if name in splits]
    if "train" not in splits or not tests:
        raise UserError(
            f"data.root={root}: its splits are {', '.join(sorted(splits)) or 'none'}; a train and one of "
            f"{', '.join(TESTS)} are needed, each a folder of dataset_dict.json or files like train-00000.parquet; "
            f"{found_at(root, ())}"
        )
    train = _Table(root, splits["train"], request.label)
    candidates = (_Table(root, splits[name], request.label) for name in tests)
    labelled = (table for table in candidates if table.is_labelled)
    if (test := next(labelled, None)) is None:
        raise UserError(f"data.root={root}: {', '.join(tests)} has no labels; give it a split that has")
    if train.classes and test.classes and train.classes != test.classes:
        raise UserError(
            f"data.root={root}: the classes of its splits are other ones ({', '.join(train.classes[:3])}, ... and "
            f"{', '.join(test.classes[:3])}, ...), so one number means two; cast both to the same ClassLabel"
        )
    for table in (train, test):
        if None in table.labels:
            raise UserError(
                f"data.root={root}: {table.files[0].name} has rows without a label ({table.label} is null); filter "
                "them out"
            )
    classes = train.classes or sorted(
        {*train.labels, *test.labels}, key=lambda label: (type(label).__name__, label)
    )
    number = {label: place for place, label in enumerate(range(len(classes)) if train.classes else classes)}
    for table in (train, test):
        if unknown := [label for label in table.labels if label not in number]:
            raise UserError(f"data.root={root}: label {unknown[0]!r} is none of the {len(classes)} classes")
    size = request.image_size or train.own_size
    both = [table.split(size, number, request.image_size is None) for table in (train, test)]
    tell_of_turned(sum(turned for _, turned in both), sum(len(split) for split, _ in both))
    return Source(both[0][0], both[1][0], tuple(map(str, classes)))


class _Table:
    """One split: its files, and which columns hold images and labels."""

    def __init__(self, root: Path, files: list[Path], label: str | None) -> None:
        self.root, self.files = root, files
        schema = _schema(root, files[0])
        self.image = self._only("image", [n for n in schema.names if _is_image(schema.field(n).type)], None)
        named = _class_names(schema)
        for file in files[1:]:
            if _class_names(_schema(root, file)) != named:
                raise UserError(
                    f"data.root={root}: {file.name} has other classes than {files[0].name}; save both again"
                )
        known = list(named) or [name for name in ("label", "labels") if name in schema.names]
        if label is not None and label not in schema.names:
            raise UserError(
                f"data.label={label!r} is no column of data.root={root}: {', '.join(schema.names)}"
            )
        self.label = self._only("label", known, label)
        self.classes: list[str] = named.get(self.label, [])
        self.labels: list[Any] = [value for cells in self._cells(self.label) for value in cells]
        self.is_labelled = bool(self.labels) and not all(value in (-1, None) for value in self.labels)

    def _only(self, what: str, names: list[str], given: str | None) -> str:
        if given is not None:
            return given
        if len(names) != 1:
            fix = "; set data.label to one of them" if what == "label" and names else ""
            found = f"several {what} columns: {', '.join(names)}{fix}" if names else f"no {what} column"
            raise UserError(f"data.root={self.root}: {self.files[0].name} has {found}")
        return names[0]

    def _cells(self, column: str) -> Iterator[list[Any]]:
        """The values of a column, some rows at a time."""
        for file in self.files:
            try:
                yield from _read(file, column)
            except (OSError, ValueError, KeyError) as error:  # pyarrow's own are ValueErrors
                raise UserError(
                    f"{file} cannot be read ({' '.join(str(error).split())}); save it again"
                ) from error

    def _pictures(self) -> Iterator[Any]:
        index = 0
        for cells in self._cells(self.image):
            for cell in cells:
                content = cell and cell.get("bytes")
                if not content:
                    raise UserError(
                        f"data.root={self.root}: image {index} of {self.files[0].parent} is not in the file, which has "
                        "its path alone; save the data set with its images (save_to_disk, push_to_hub or to_parquet)"
                    )
                yield read_picture(self.files[0].parent / f"image {index}", content)
                index += 1

    @property
    def own_size(self) -> int:
        """Pixels of a side of the first image. Raises UserError where it is no square."""
        width, height = next(self._pictures()).image.size
        if width != height:
            raise UserError(
                f"data.image_size=null but images are {width} x {height} pixels; set a size, e.g. data.image_size=224"
            )
        return width

    def split(self, size: int, number: dict[Any, int], is_own: bool) -> tuple[Split, int]:
        """The decoded images, and how many EXIF asks to be turned. ``is_own``: all must have that size already."""
        images, num_turned = disk_array((len(self.labels), size, size, 3)), 0
        for index, picture in enumerate(self._pictures()):
            if is_own and picture.image.size != (size, size):
                raise UserError(
                    f"data.image_size=null but images have several sizes, as {size} x {size} and "
                    "{} x {} pixels; set one".format(*picture.image.size)
                )
            images[index] = square(picture.image, size)
            num_turned += picture.turned
        return Split(images, np.array([number[label] for label in self.labels], np.int64)), num_turned


def _splits(root: Path) -> dict[str, list[Path]]:
    """Names of splits, and the files of each in order."""
    if (root / "dataset_dict.json").is_file():
        names = json.loads((root / "dataset_dict.json").read_text()).get("splits", [])
        return {name: _arrow_files(root / name) for name in names}
    if (root / "state.json").is_file():
        raise UserError(
            f"data.root={root}: it is one split, saved alone; save a DatasetDict of train and test, or name its folder"
        )
    found: dict[str, list[Path]] = {}
    for file in sorted([*root.glob("*.parquet"), *root.glob("*/*.parquet"), *root.glob("*/*/*.parquet")]):
        for text in (file.stem, file.parent.name):  # train-00000-of-00002.parquet, train/0000.parquet
            if (name := text.partition("-")[0]) in ("train", *TESTS):
                found.setdefault(name, []).append(file)
                break
    for name, files in found.items():
        if len(folders := {file.parent for file in files}) > 1:
            one, other = sorted(folders)[:2]
            raise UserError(
                f"data.root={root}: {name} lies in {one} and in {other}; set data.root to one of them"
            )
    return found


def _arrow_files(folder: Path) -> list[Path]:
    """The files that a split's state.json lists."""
    try:
        files = [
            folder / entry["filename"]
            for entry in json.loads((folder / "state.json").read_text())["_data_files"]
        ]
        if not files:
            raise ValueError("it lists no file")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder / 'state.json'} cannot be read ({error}); save the data set again"
        ) from error
    return files


def _class_names(schema: Any) -> dict[str, list[str]]:
    """Column -> the names of its classes, of columns that have some."""
    features = (
        json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    )
    return {
        name: kind["names"]
        for name, kind in features.items()
        if isinstance(kind, dict) and kind.get("_type") == "ClassLabel"
    }


def _schema(root: Path, file: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if file.suffix == ".parquet":
            return pq.read_schema(file)
        with pa.memory_map(str(file)) as source:
            return pa.ipc.open_stream(source).schema
    except (OSError, ValueError) as error:
        raise UserError(
            f"data.root={root}: {file} cannot be read ({' '.join(str(error).split())}); save it again"
        ) from error


def _read(file: Path, column: str) -> Iterator[list[Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if file.suffix == ".parquet":
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(ROWS, columns=[column]):
                yield batch.column(0).to_pylist()
        return
    with pa.memory_map(str(file)) as source:
        for batch in pa.ipc.open_stream(source):
            yield batch.column(batch.schema.get_field_index(column)).to_pylist()


def _is_image(kind: Any) -> bool:
    """Whether an Arrow type is that of encoded images: {bytes, path}."""
    import pyarrow as pa

    if not pa.types.is_struct(kind):
        return False
    names = {kind.field(place).name for place in range(kind.num_fields)}
    return {"bytes", "path"} == names
