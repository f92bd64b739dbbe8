"""RandAugment (Cubuk et al. 2020): images draw their operations, and those that drew the same go through it together.

Operations and their strengths are those of torchvision's RandAugment, by its public functions: nearest pixels, black
around. B images of C channels; N of the whole batch; K operations each.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from granet.common.seeds import stable_seed
from granet.data.loaders import sent

STRONGEST = 30
"""The highest magnitude."""


def _affine(
    images: Tensor, *, shear: tuple[float, float] = (0.0, 0.0), move: tuple[int, int] = (0, 0)
) -> Tensor:
    center = [0.0, 0.0] if any(shear) else None
    angles = [math.degrees(math.atan(tangent)) for tangent in shear]
    return F.affine(images, angle=0.0, translate=list(move), scale=1.0, shear=angles, center=center)


OPERATIONS: dict[str, tuple[bool, Callable[[Tensor, float], Tensor]]] = {
    "identity": (False, lambda images, s: images),
    "shear x": (True, lambda images, s: _affine(images, shear=(0.3 * s, 0.0))),
    "shear y": (True, lambda images, s: _affine(images, shear=(0.0, 0.3 * s))),
    "translate x": (True, lambda images, s: _affine(images, move=(int(150 / 331 * images.shape[3] * s), 0))),
    "translate y": (True, lambda images, s: _affine(images, move=(0, int(150 / 331 * images.shape[2] * s)))),
    "rotate": (True, lambda images, s: F.rotate(images, 30 * s)),
    "brightness": (True, lambda images, s: F.adjust_brightness(images, 1 + 0.9 * s)),
    "color": (True, lambda images, s: F.adjust_saturation(images, 1 + 0.9 * s)),
    "contrast": (True, lambda images, s: F.adjust_contrast(images, 1 + 0.9 * s)),
    "sharpness": (True, lambda images, s: F.adjust_sharpness(images, 1 + 0.9 * s)),
    "posterize": (False, lambda images, s: F.posterize(images, 8 - round(4 * s))),
    "solarize": (False, lambda images, s: F.solarize(images, 255 * (1 - s))),
    "autocontrast": (False, lambda images, s: F.autocontrast(images)),
    "equalize": (False, lambda images, s: F.equalize(images)),
}
"""Name -> whether half of its draws go the opposite way; uint8 images and a strength in [-1, 1] -> images."""


def drawn(num_images: int, num_ops: int, seed: int, step: int) -> np.ndarray:
    """(2, K, N): which operation, and whether in the opposite direction."""
    rng = np.random.default_rng(stable_seed("randaugment", seed, step))
    size = (num_ops, num_images)
    return np.stack([rng.integers(len(OPERATIONS), size=size), rng.integers(2, size=size)])


def randaugmented(images_BCHW: Tensor, draws_2KB: np.ndarray, magnitude: int) -> Tensor:
    """uint8 images after their operations, in the order of the draws."""
    for ops_B, turned_B in zip(*draws_2KB, strict=True):
        changed_BCHW = torch.empty_like(images_BCHW)
        for number, (signed, operation) in enumerate(OPERATIONS.values()):
            for sign in (1, -1) if signed else (1,):
                here_B = (ops_B == number) & (not signed or (turned_B == 1) == (sign < 0))
                if here_B.any():
                    places = sent(torch.from_numpy(np.flatnonzero(here_B)), images_BCHW.device)
                    images = operation(images_BCHW.index_select(0, places), sign * magnitude / STRONGEST)
                    changed_BCHW.index_copy_(0, places, images)
        images_BCHW = changed_BCHW
    return images_BCHW
