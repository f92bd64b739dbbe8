"""granet.data.digits: the bundled images, always in the same two sets."""

from typing import Any

import numpy as np

from granet.data.datasets import DATASETS
from granet.data.split import Request


def test_digits() -> None:
    source = DATASETS["digits"].load(Request())
    assert source.train.images_NHWC.shape == (1437, 32, 32, 3) and source.test.images_NHWC.shape == (
        360,
        32,
        32,
        3,
    )
    assert len(source.train) == DATASETS["digits"].num_train
    assert np.bincount(source.test.labels).tolist() == [36] * 10
    assert source.classes == tuple("0123456789")
    assert source.md5 == DATASETS["digits"].load(Request()).md5


def test_digits_are_upscaled_from_the_bundled_ones() -> None:
    from sklearn.datasets import load_digits

    bundled: Any = load_digits()
    source = DATASETS["digits"].load(Request(image_size=8))  # 8 x 8 is the original size
    images = np.concatenate([source.train.images_NHWC, source.test.images_NHWC])
    originals = np.rint(bundled.images * 255 / 16)
    assert images.max() == 255  # the originals' 16
    assert sorted(image[..., 1].tobytes() for image in images) == sorted(
        image.astype(np.uint8).tobytes() for image in originals
    )
