"""Tiny-ImageNet (Stanford's CS231n): 200 classes of ImageNet at 64 x 64, in a layout of its own."""

from pathlib import Path

import numpy as np

from granet.common.files import one_line
from granet.data.folder import images_in, visible
from granet.data.root import found_at
from granet.data.sources.official import root_of
from granet.data.split import ImageFiles, Request, Source, Split
from granet.data.squares import squares
from granet.types import UserError

SIZE = 64
FOLDER, ANNOTATIONS = "tiny-imagenet-200", "val/val_annotations.txt"


def tiny_imagenet(request: Request) -> Source[Split]:
    """500 training images a class from train/<class>/images, and the 10,000 of val/images to test with.

    The classes of the latter are in val/val_annotations.txt, a line per image: file, class, box, with tabs between. The
    labels of test/ are not published. Some images are grey, and become RGB. ``request.root`` holds tiny-imagenet-200 or
    is it; ``request.image_size`` resizes, null: 64. Raises UserError for another layout and an unreadable image.
    """
    given = root_of(request, FOLDER)
    root = given / FOLDER if (given / FOLDER).is_dir() else given
    if not (root / "train").is_dir() or not (root / ANNOTATIONS).is_file():
        lacking = "train" if not (root / "train").is_dir() else ANNOTATIONS
        raise UserError(
            f"data.root={given}: {root / lacking} is missing; {found_at(root, ())}; unpack {FOLDER}.zip there, whose "
            "val/ holds images/ and val_annotations.txt (class folders in val are dataset imagefolder's)"
        )
    classes = visible(root / "train")[0]
    train = [
        (f"{name}/images/{file}", name)
        for name in classes
        for file in images_in(_folder(root / "train" / name))
    ]
    if not train:
        raise UserError(
            f"data.root={given}: {root / 'train'} has no class folders; unpack {FOLDER}.zip again"
        )
    files = Source(
        _files(root / "train", train, classes),
        _files(root / "val", _annotated(root, classes), classes),
        tuple(classes),
    )
    return squares(files, request.image_size or SIZE)


def _folder(parent: Path) -> Path:
    if not (parent / "images").is_dir():
        raise UserError(f"{one_line(parent / 'images')} is missing; unpack {FOLDER}.zip again")
    return parent / "images"


def _annotated(root: Path, classes: list[str]) -> list[tuple[str, str]]:
    """Name, relative to val, and class of every image that the annotations list."""
    known, entries, path = set(classes), [], root / ANNOTATIONS
    for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), start=1):
        name, *others = line.split("\t")
        if not others or others[0] not in known:
            raise UserError(
                f"{path}:{number}: {line!r} must be a file and a class of train/, with a tab between"
            )
        entries.append((f"images/{name}", others[0]))
    if not entries:
        raise UserError(f"{path} is empty; unpack {FOLDER}.zip again")
    return entries


def _files(folder: Path, entries: list[tuple[str, str]], classes: list[str]) -> ImageFiles:
    place = {name: number for number, name in enumerate(classes)}
    labels = np.array([place[label] for _, label in entries], np.int64)
    return ImageFiles(folder, [name for name, _ in entries], labels)
