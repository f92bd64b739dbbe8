"""Random erasing (Zhong et al. 2020): a rectangle of some images gets the mean colour, which normalised is zero.

N images of H x W pixels, of which B are seen here.
"""

import numpy as np
import torch
from torch import Tensor

from granet.common.seeds import stable_seed
from granet.data.loaders import sent

SCALE = 0.02, 0.33
"""Share of the image's area."""
RATIO = 0.3, 3.3
"""Height over width."""
TRIES = 10


def holes(N: int, H: int, W: int, share: float, seed: int, step: int) -> np.ndarray:
    """(N, 4): top, left, height, width, drawn as torchvision's RandomErasing does; sides of 0 where there is none.

    Area uniform in SCALE, ratio log-uniform in RATIO. One that does not fit is drawn again, ten times at most.
    """
    rng = np.random.default_rng(stable_seed("erasing", seed, step))
    open_N = rng.uniform(size=N) < share
    h_N, w_N = np.zeros((2, N), np.int64)
    log_low, log_high = np.log(RATIO)
    for _ in range(TRIES):
        area_N = H * W * rng.uniform(SCALE[0], SCALE[1], N)
        ratio_N = np.exp(rng.uniform(log_low, log_high, N))
        high_N, wide_N = np.rint(np.sqrt(area_N * ratio_N)), np.rint(np.sqrt(area_N / ratio_N))
        fits_N = open_N & (high_N < H) & (wide_N < W)
        h_N[fits_N], w_N[fits_N] = high_N[fits_N], wide_N[fits_N]
        open_N &= ~fits_N
    top_N = np.floor(rng.uniform(size=N) * (H - h_N + 1)).astype(np.int64)
    left_N = np.floor(rng.uniform(size=N) * (W - w_N + 1)).astype(np.int64)
    return np.stack([top_N, left_N, h_N, w_N], axis=1)


def erased(images_BCHW: Tensor, holes_B4: np.ndarray) -> Tensor:
    """Normalised images, zero within their holes."""
    H, W = images_BCHW.shape[2:]
    numbers_4B1 = sent(torch.from_numpy(np.ascontiguousarray(holes_B4.T))[:, :, None], images_BCHW.device)
    top_B1, left_B1, height_B1, width_B1 = numbers_4B1
    rows_H, columns_W = (torch.arange(size, device=images_BCHW.device) for size in (H, W))
    within_BH = (rows_H >= top_B1) & (rows_H < top_B1 + height_B1)
    within_BW = (columns_W >= left_B1) & (columns_W < left_B1 + width_B1)
    return images_BCHW.masked_fill((within_BH[:, :, None] & within_BW[:, None, :])[:, None], 0.0)
