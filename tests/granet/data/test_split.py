"""granet.data.split: what is no set of images with labels is refused."""

import numpy as np
import pytest

from granet.data.split import Source, Split


def test_split_refuses_what_is_no_split() -> None:
    images, labels = np.zeros((2, 4, 4, 3), np.uint8), np.zeros(2, np.int64)
    for wrong in (
        (images.astype(np.float32), labels),
        (images[..., :1], labels),
        (images, labels[:1]),
        (images[:0], labels[:0]),
    ):
        with pytest.raises(ValueError, match="images"):
            Split(*wrong)
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.1"):
        Source(Split(images, labels), Split(images, labels + 2), ("a", "b"))
