"""Fashion-MNIST (Xiao et al. 2017) from its four idx files; names and md5s are torchvision's."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from granet.data.sources.official import check_size, checked, damaged, root_of
from granet.data.split import Request, Source, Split

SIZE = 28
FOLDER = "FashionMNIST/raw"
"""Where torchvision puts the files."""
UNSIGNED_BYTES = 8


def fashion_mnist(request: Request) -> Source[Split]:
    """60,000 training and 10,000 test images of 28 x 28, grey, which become RGB by three equal channels.

    The .gz files lie in root/FashionMNIST/raw, as torchvision leaves them, or in root itself. Raises UserError for one
    that is missing, damaged or, where ``request.verify``, not the official one (MNIST's have the same names).
    """
    from torchvision.datasets import FashionMNIST

    root = root_of(request, "train-images-idx3-ubyte.gz and the three others")
    check_size(request, "Fashion-MNIST", SIZE)
    folder = root / FOLDER if (root / FOLDER).is_dir() else root
    files = [checked(root, folder / name, md5, request.verify) for name, md5 in FashionMNIST.resources]
    train, test = (_split(root, *files[first : first + 2]) for first in (0, 2))
    return Source(train, test, tuple(FashionMNIST.classes))


def _split(root: Path, images: Path, labels: Path) -> Split:
    grey_NHW = read_idx(root, images, 3)
    try:
        return Split(np.repeat(grey_NHW[..., None], 3, axis=3), read_idx(root, labels, 1).astype(np.int64))
    except ValueError as error:
        raise damaged(root, images, error) from error


def read_idx(root: Path, path: Path, num_axes: int) -> np.ndarray:
    """The uint8 array of a gzipped idx file: two zeros, 8 for bytes, the number of axes, their sizes, the numbers."""
    try:
        with gzip.open(path) as file:
            content = file.read()
        zeros, kind, axes = struct.unpack_from(">HBB", content)
        if (zeros, kind, axes) != (0, UNSIGNED_BYTES, num_axes):
            raise ValueError(f"it has no bytes in {num_axes} axes")
        shape = struct.unpack_from(f">{axes}I", content, 4)
        return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
    except (OSError, EOFError, zlib.error, struct.error, ValueError) as error:
        raise damaged(root, path, error) from error
