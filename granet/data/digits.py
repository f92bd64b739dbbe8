"""scikit-learn's bundled handwritten digits: real images that need no download."""

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from granet.data.split import Request, Source, Split
from granet.data.subset import balanced

NUM_TRAIN = 1437
NUM_TEST = 360


def digits(request: Request) -> Source[Split]:
    """1,437 training and 360 test images (36 of each digit), always the same ones.

    The 8 x 8 originals (grey, 0..16) are scaled to 0..255 and bilinearly to 32 x 32, or ``request.image_size``.
    """
    rows = bundled()
    size = request.image_size or 32
    grey = np.rint(rows[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    upscaled = [Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR) for image in grey]
    images = np.repeat(np.stack([np.asarray(image) for image in upscaled])[..., None], 3, axis=3)
    labels = rows[:, -1].astype(np.int64)
    test = balanced(labels, NUM_TEST, "digits")
    train = np.setdiff1d(np.arange(len(labels)), test)
    return Source(
        train=Split(images[train], labels[train]),
        test=Split(images[test], labels[test]),
        classes=tuple(str(name) for name in range(10)),
    )


def bundled() -> np.ndarray:
    """A row per image: 64 numbers 0..16, and the label. Read from scikit-learn's own file, without its import of 2 s.

    Raises ModuleNotFoundError where it is not installed.
    """
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")
    with gzip.open(Path(spec.origin).parent / "datasets/data/digits.csv.gz", "rt") as file:
        return np.loadtxt(file, delimiter=",")
