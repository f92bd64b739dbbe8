"""Random crop, random flip and normalisation of whole batches, on the device that trains.

B images of C channels, H x W pixels. All shapes are fixed by the input, nothing is read back from the device, and no
loop runs over images.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from granet.common.distributed import ALONE, World
from granet.types import UserError


@dataclass(frozen=True)
class Augment:
    """Crop with ``padding`` pixels on every side, filled by ``mode``; mirror half of the images if ``flip``.

    ``mode`` "reflect" mirrors the image at its border pixels, "zero" is black. ``mean`` and ``std`` are per channel,
    for pixels in [0, 1].
    """

    padding: int
    mode: Literal["reflect", "zero"]
    flip: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.mode not in ("reflect", "zero"):
            raise UserError(f"augmentation mode={self.mode!r} is unknown; choose reflect or zero")

    def train(
        self,
        images_BCHW: Tensor,
        generator: torch.Generator,
        num_images: int | None = None,
        world: World = ALONE,
    ) -> Tensor:
        """uint8 images -> float32, cropped, flipped and normalised. Draws from ``generator``, on the images' device.

        Where the images are what ``world`` sees of a batch of ``num_images``, each looks as in a run of one process.
        """
        num_images = num_images or len(images_BCHW)
        return self.evaluate(self._crop_and_flip(images_BCHW, generator, num_images, world.seen(num_images)))

    def evaluate(self, images_BCHW: Tensor) -> Tensor:
        """uint8 images -> float32, normalised: (pixel / 255 - mean) / std."""
        scale, shift = _affine(self.mean, self.std, images_BCHW.device)
        return images_BCHW.float().mul_(scale).add_(shift)

    def _crop_and_flip(self, images_BCHW: Tensor, generator: torch.Generator, N: int, seen: slice) -> Tensor:
        """Every output pixel is copied from the input pixel that crop and flip bring there."""
        B, C, H, W = images_BCHW.shape
        if self.padding >= min(H, W):
            raise UserError(f"augmentation padding={self.padding} must be smaller than the {H} x {W} images")
        device = images_BCHW.device
        rows_BH = torch.arange(H, device=device).expand(B, H)
        columns_BW = torch.arange(W, device=device).expand(B, W)
        if self.flip:
            flipped_B1 = torch.randint(2, (N, 1), generator=generator, device=device)[seen].bool()
            columns_BW = torch.where(flipped_B1, W - 1 - columns_BW, columns_BW)
        if self.padding:
            p = self.padding
            offsets_2B1 = torch.randint(-p, p + 1, (2, N, 1), generator=generator, device=device)[:, seen]
            rows_BH, columns_BW = rows_BH + offsets_2B1[0], columns_BW + offsets_2B1[1]
        inside_BHW = _inside(rows_BH, H)[:, :, None] & _inside(columns_BW, W)[:, None, :]
        image_B1 = torch.arange(B, device=device)[:, None]
        pixel_BHW = (image_B1 * H + _reflect(rows_BH, H))[:, :, None] * W + _reflect(columns_BW, W)[
            :, None, :
        ]
        pixels_PC = images_BCHW.permute(0, 2, 3, 1).reshape(-1, C)  # a view where the memory is channels-last
        cropped_BHWC = pixels_PC.index_select(0, pixel_BHW.view(-1)).view(B, H, W, C)
        if self.mode == "zero":
            cropped_BHWC = cropped_BHWC * inside_BHW[..., None]
        return cropped_BHWC.permute(0, 3, 1, 2)


def _inside(position: Tensor, size: int) -> Tensor:
    return (position >= 0) & (position < size)


def _reflect(position: Tensor, size: int) -> Tensor:
    """Positions in -(size - 1) .. 2 (size - 1), mirrored at 0 and size - 1 without repeating the border."""
    last = size - 1
    return last - (last - position.abs()).abs()


@cache
def _affine(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """(scale_C11, shift_C11) with pixel * scale + shift normalised. Cached: making them waits for the device."""
    mean_C11, std_C11 = (torch.tensor(values, dtype=torch.float64).view(-1, 1, 1) for values in (mean, std))
    scale_C11, shift_C11 = 1 / (255 * std_C11), -mean_C11 / std_C11
    return scale_C11.float().to(device), shift_C11.float().to(device)
