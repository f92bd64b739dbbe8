"""Street View House Numbers (Netzer et al. 2011), cropped digits; names and md5s of the files are torchvision's."""

from pathlib import Path

import numpy as np

from granet.data.sources.official import check_size, checked, damaged, root_of
from granet.data.split import Request, Source, Split

SIZE = 32


def svhn(request: Request) -> Source[Split]:
    """73,257 training and 26,032 test images from root/train_32x32.mat and test_32x32.mat; the extra set is left out.

    The files call the digit 0 label 10; here it is class 0. Raises UserError for a file that is missing, unreadable or,
    where ``request.verify``, not the official one.
    """
    from torchvision.datasets import SVHN

    root = root_of(request, "train_32x32.mat and test_32x32.mat")
    check_size(request, "SVHN", SIZE)
    train, test = (
        _split(root, checked(root, root / name, md5, request.verify))
        for _, name, md5 in (SVHN.split_list["train"], SVHN.split_list["test"])
    )
    return Source(train, test, tuple(map(str, range(10))))


def _split(root: Path, path: Path) -> Split:
    from scipy.io import loadmat

    try:
        content = loadmat(path, variable_names=["X", "y"])
        images_HWCN, labels = content["X"], content["y"].reshape(-1).astype(np.int64)
        if images_HWCN.shape[:3] != (SIZE, SIZE, 3) or not ((labels >= 1) & (labels <= 10)).all():
            raise ValueError(f"X {images_HWCN.shape} of {SIZE} x {SIZE} x 3 x N and y of 1 to 10 are needed")
        return Split(np.ascontiguousarray(images_HWCN.transpose(3, 0, 1, 2)), labels % 10)
    except Exception as error:  # a damaged file can raise anything
        if isinstance(error, ModuleNotFoundError):
            raise
        raise damaged(root, path, f"{type(error).__name__}: {error}") from error
