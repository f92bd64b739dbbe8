"""How activations lie in memory: images innermost, (C, H, W, N); and what type they have."""

import torch
from torch import Tensor

from granet.common.memory import pooled


def empty(like: Tensor, channels: int, height: int, width: int) -> Tensor:
    """New activations for the images of ``like``."""
    images = like.shape[0]
    shape, stride = (images, channels, height, width), (1, height * width * images, width * images, images)
    if type(like) is Tensor and like.device.type == "cpu":
        return pooled(shape, stride, like.dtype)
    return like.new_empty_strided(shape, stride)


def is_batch_innermost(x_NCHW: Tensor) -> bool:
    """Whether the memory is (C, H, W, N)."""
    return x_NCHW.dim() == 4 and x_NCHW.permute(1, 2, 3, 0).is_contiguous()


def batch_innermost(x_NCHW: Tensor) -> Tensor:
    """The same with memory (C, H, W, N); no copy where it has it."""
    return x_NCHW if is_batch_innermost(x_NCHW) else empty(x_NCHW, *x_NCHW.shape[1:]).copy_(x_NCHW)


def precision() -> torch.dtype:
    """What convolutions compute in here: bf16 under its autocast, else fp32."""
    halves = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return torch.bfloat16 if halves else torch.float32
