"""Which part of each image is seen: random boxes for training, central ones for evaluation. Numbers only, no pixels.

N images; a box is (top, left, height, width) in pixels of its image.
"""

from dataclasses import dataclass

import numpy as np

SCALE = 0.08, 1.0
"""Share of the image's area that a random box covers."""
RATIO = 3 / 4, 4 / 3
"""Width over height of a random box."""
TRIES = 10


@dataclass(frozen=True)
class Crop:
    """``size``: height and width that every box is resized to, pixels; ``centre``: see `central_boxes`."""

    size: int
    centre: float


def central_boxes(heights_N: np.ndarray, widths_N: np.ndarray, share: float) -> np.ndarray:
    """Boxes (N, 4): the central square whose side is ``share`` of the shorter side.

    Resized to 224 pixels, with share 224 / 256, that is "resize the shorter side to 256, crop the centre to 224".

    >>> central_boxes(np.array([256, 300]), np.array([512, 256]), 0.875).tolist()
    [[16, 144, 224, 224], [38, 16, 224, 224]]
    """
    side_N = np.maximum(np.rint(np.minimum(heights_N, widths_N) * share), 1).astype(np.int64)
    return np.stack([(heights_N - side_N) // 2, (widths_N - side_N) // 2, side_N, side_N], axis=1)


def random_boxes(heights_N: np.ndarray, widths_N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Boxes (N, 4) of Inception's augmentation (Szegedy et al. 2015), drawn as torchvision's RandomResizedCrop does.

    Area uniform in SCALE, ratio log-uniform in RATIO. A box that does not fit is drawn again, ten times at most; then
    it is the largest central one whose ratio lies in RATIO. What an image gets depends on N and the state of ``rng``.
    """
    N = len(heights_N)
    heights_N, widths_N = heights_N.astype(np.int64), widths_N.astype(np.int64)
    box_h_N, box_w_N = _largest(heights_N, widths_N)
    open_N = np.ones(N, bool)
    log_low, log_high = np.log(RATIO)
    for _ in range(TRIES):
        area_N = heights_N * widths_N * rng.uniform(*SCALE, N)
        ratio_N = np.exp(rng.uniform(log_low, log_high, N))
        h_N = np.rint(np.sqrt(area_N / ratio_N)).astype(np.int64)
        w_N = np.rint(np.sqrt(area_N * ratio_N)).astype(np.int64)
        fits_N = open_N & (h_N > 0) & (h_N <= heights_N) & (w_N > 0) & (w_N <= widths_N)
        box_h_N[fits_N], box_w_N[fits_N] = h_N[fits_N], w_N[fits_N]
        open_N &= ~fits_N
    room_h_N, room_w_N = heights_N - box_h_N, widths_N - box_w_N
    top_N = np.floor(rng.uniform(size=N) * (room_h_N + 1)).astype(np.int64)
    left_N = np.floor(rng.uniform(size=N) * (room_w_N + 1)).astype(np.int64)
    top_N[open_N], left_N[open_N] = room_h_N[open_N] // 2, room_w_N[open_N] // 2
    return np.stack([top_N, left_N, box_h_N, box_w_N], axis=1)


def _largest(heights_N: np.ndarray, widths_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Height and width of the largest box whose ratio lies in RATIO."""
    low, high = RATIO
    box_h_N = np.minimum(heights_N, np.rint(widths_N / low)).astype(np.int64)
    box_w_N = np.minimum(widths_N, np.rint(heights_N * high)).astype(np.int64)
    return box_h_N, box_w_N
