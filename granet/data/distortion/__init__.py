"""What training may do to a batch beyond crop and flip: RandAugment, random erasing, mixup, CutMix; none by default.

All that is drawn is a function of (seed, step) alone: equal for every loader, and for a run that was resumed. No shape
depends on it, and nothing is read back from the device.
"""

import importlib.util
from dataclasses import dataclass

from torch import Tensor

from granet.types import UserError


@dataclass(frozen=True)
class Distortion:
    """``num_ops`` of RandAugment per image, of ``magnitude`` in 0 .. 30; ``erasing``: share of images with a hole.

    ``mixup`` and ``cutmix`` are the alphas of their Beta distributions, 0: not used; where both are, each batch draws
    one of them. ``part``: images of one forward, of which pairs are made. Raises UserError without torchvision.
    """

    seed: int
    num_classes: int
    num_ops: int = 0
    magnitude: int = 9
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    part: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("randaugment", self.num_ops), ("mixup", self.mixup), ("cutmix", self.cutmix)):
            if value and importlib.util.find_spec("torchvision") is None:
                raise UserError(f"train.{name}={value} needs torchvision; install it, or write {name}: 0")

    def pixels(self, images_BCHW: Tensor, step: int, num_images: int, seen: slice) -> Tensor:
        """uint8 images, as a loader gives them, after RandAugment. They are the ``seen`` ones of ``num_images``."""
        if not self.num_ops:
            return images_BCHW
        from granet.data.distortion.randaugment import drawn, randaugmented

        draws = drawn(num_images, self.num_ops, self.seed, step)
        return randaugmented(images_BCHW, draws[:, :, seen], self.magnitude)

    def batch(
        self, images_BCHW: Tensor, labels_B: Tensor, step: int, num_images: int, seen: slice
    ) -> tuple[Tensor, Tensor]:
        """Normalised images with holes, then mixed, and their labels: as they are, or shares (B, classes) of each."""
        if self.erasing:
            from granet.data.distortion.erasing import erased, holes

            height, width = images_BCHW.shape[2:]
            drawn = holes(num_images, height, width, self.erasing, self.seed, step)
            images_BCHW = erased(images_BCHW, drawn[seen])
        if self.mixup or self.cutmix:
            from granet.data.distortion.mixing import mixed

            return mixed(
                images_BCHW, labels_B, self.mixup, self.cutmix, self.num_classes, self.seed, step, self.part
            )
        return images_BCHW, labels_B
