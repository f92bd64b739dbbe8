"""Other images in the official CIFAR python layout, for tests of the path that reads it.

    write_cifar10(root)      root/cifar-10-batches-py/{data_batch_1..5,test_batch,batches.meta}
    write_cifar100(root)     root/cifar-100-python/{train,test,meta}

The content is scikit-learn's digits (1,437 and 360 images), so the md5s are not the official ones: read it with
data.verify=false.
"""

import pickle
from pathlib import Path

import numpy as np

from granet.data.digits import digits
from granet.data.split import Request, Source, Split


def _dump(path: Path, content: dict[bytes, object]) -> None:
    path.write_bytes(pickle.dumps(content, protocol=2))


def _batch(split: Split, part: np.ndarray, label_key: bytes) -> dict[bytes, object]:
    images_NCHW = split.images_NHWC[part].transpose(0, 3, 1, 2)
    return {
        b"data": images_NCHW.reshape(len(part), 3072),
        label_key: split.labels[part].tolist(),
        b"filenames": [b"digit_%05d.png" % number for number in part],
    }


def write_cifar10(root: Path) -> Source:
    """Five training batches, a test batch and the class names; returns what they hold."""
    source = digits(Request())
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for number, part in enumerate(np.array_split(np.arange(len(source.train)), 5), start=1):
        _dump(folder / f"data_batch_{number}", _batch(source.train, part, b"labels"))
    _dump(folder / "test_batch", _batch(source.test, np.arange(len(source.test)), b"labels"))
    _dump(folder / "batches.meta", {b"label_names": [name.encode() for name in source.classes]})
    return source


def write_cifar100(root: Path) -> Source:
    """One file per split and the class names; returns what they hold."""
    source = digits(Request())
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    for name, split in (("train", source.train), ("test", source.test)):
        _dump(folder / name, _batch(split, np.arange(len(split)), b"fine_labels"))
    _dump(folder / "meta", {b"fine_label_names": [name.encode() for name in source.classes]})
    return source
