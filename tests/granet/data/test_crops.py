"""granet.data.crops: boxes lie inside their images and are distributed as torchvision's."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from granet.data.crops import RATIO, SCALE, central_boxes, random_boxes

sides = hnp.arrays(np.uint16, st.integers(1, 20), elements=st.integers(1, 600))


@given(sides, st.integers(0, 99))
def test_a_random_box_lies_inside_its_image(heights_N: np.ndarray, seed: int) -> None:
    widths_N = heights_N[::-1].copy()
    top, left, rows, columns = random_boxes(heights_N, widths_N, np.random.default_rng(seed)).T
    assert (rows >= 1).all() and (columns >= 1).all()
    assert (top >= 0).all() and (left >= 0).all()
    assert (top + rows <= heights_N).all() and (left + columns <= widths_N).all()


@given(sides, st.floats(0.1, 1.0))
def test_a_central_box_is_a_square_in_the_middle(heights_N: np.ndarray, share: float) -> None:
    widths_N = np.maximum(heights_N.astype(int) * 2 // 3, 1)
    top, left, rows, columns = central_boxes(heights_N, widths_N, share).T
    assert (rows == columns).all() and (rows >= 1).all()
    for start, length, side in ((top, rows, heights_N), (left, columns, widths_N)):
        assert (np.abs((side - length) - 2 * start) <= 1).all() and (start >= 0).all()


def test_area_and_ratio_are_those_of_torchvision() -> None:
    """20,000 boxes of an image of 300 x 400: the deciles of areas, ratios and places agree."""
    from torchvision.transforms import RandomResizedCrop

    N = 20_000
    ours = random_boxes(np.full(N, 300), np.full(N, 400), np.random.default_rng(0))
    torch.manual_seed(0)
    image = torch.empty(3, 300, 400)
    theirs = np.array([RandomResizedCrop.get_params(image, list(SCALE), list(RATIO)) for _ in range(N)])
    deciles = np.arange(0.1, 1.0, 0.1)
    for of in (
        lambda box: box[:, 2] * box[:, 3] / (300 * 400),
        lambda box: np.log(box[:, 3] / box[:, 2]),
        lambda box: box[:, 0] / 300,
        lambda box: box[:, 1] / 400,
    ):
        np.testing.assert_allclose(
            np.quantile(of(ours), deciles), np.quantile(of(theirs), deciles), atol=0.015
        )


@pytest.mark.parametrize(
    "height, width, box",
    [(10, 1000, [0, 493, 10, 13]), (1000, 10, [493, 0, 13, 10])],  # 10 * 4 / 3 = 13
)
def test_an_image_too_long_for_any_box_gives_its_centre(height: int, width: int, box: list[int]) -> None:
    """An area of 8 % of 10 x 1000 is 29 pixels high at least, so no draw fits."""
    boxes_N4 = random_boxes(np.full(9, height), np.full(9, width), np.random.default_rng(0))
    assert boxes_N4.tolist() == [box] * 9
