"""A hundred classes of ImageNet, or any other number: those of a list, from ImageNet's own folder."""

from pathlib import Path

import numpy as np

from granet.common.files import one_line
from granet.data.folder import image_files
from granet.data.sources.official import root_of
from granet.data.split import ImageFiles, Request, Source
from granet.types import UserError

LIST = "imagenet100.txt"


def imagenet100(request: Request) -> Source[ImageFiles]:
    """The classes that ``request.classes`` lists (None: root/imagenet100.txt), of the folder that `image_files` reads.

    A line begins with the name of a class folder; what follows it is for readers. Classes are in alphabetical order, as
    in ImageNet. Raises UserError as `image_files` does, for a list that is missing or empty, and for a name that comes
    twice or is no class there.
    """
    root = root_of(request, f"ImageNet's train/ and val/, and the list {LIST}")
    path = request.classes or root / LIST
    names = listed(path)
    source = image_files(request)
    if unknown := [name for name in names if name not in source.classes]:
        raise UserError(
            f"{path}: {one_line(unknown[0])} is no class of data.root={root}, which has {source.classes[0]} and others"
        )
    kept = sorted(names)
    number = np.full(len(source.classes), -1)
    number[[source.classes.index(name) for name in kept]] = np.arange(len(kept))
    return Source(_of(source.train, number), _of(source.test, number), tuple(kept))


def listed(path: Path) -> list[str]:
    """The first word of every line that is not empty."""
    if not path.is_file():
        raise UserError(
            f"{path} is missing; write the names of the class folders there, one a line, or set data.classes to a file "
            "that has them (data/README.md)"
        )
    names = [
        line.split()[0] for line in path.read_text("utf-8-sig", errors="replace").splitlines() if line.split()
    ]
    if not names:
        raise UserError(f"{path} is empty; write the names of class folders, one a line")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{path}: {one_line(twice[0])} is there twice; remove one")
    return names


def _of(files: ImageFiles, number: np.ndarray) -> ImageFiles:
    """The images whose class has a new number, which is -1 for the others."""
    labels = number[files.labels]
    chosen = np.flatnonzero(labels >= 0)
    return ImageFiles(files.folder, [files.names[index] for index in chosen], labels[chosen])
