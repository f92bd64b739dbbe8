"""How fast networks are, side by side."""

import copy
import time
from collections.abc import Sequence
from statistics import median

import torch
from torch import nn


@torch.inference_mode()
def latencies(
    models: Sequence[nn.Module], image_shape: Sequence[int], batch_size: int, *, time_s: float = 3.0
) -> list[float]:
    """Seconds that each model takes for a batch in eval mode: the median, models taking turns.

    ``image_shape`` is (C, H, W). Measured on the models' device for about ``time_s`` in all, 7 turns at least. Taking
    turns lets whatever else the machine does slow all of them alike.
    """
    nets = [copy.deepcopy(model).eval() for model in models]
    first = next(nets[0].parameters())
    images_NCHW = torch.randn(batch_size, *image_shape, device=first.device, dtype=first.dtype)
    images_NCHW = images_NCHW.contiguous(memory_format=torch.channels_last)

    def measure(net: nn.Module) -> float:
        started = time.perf_counter()
        net(images_NCHW)
        if first.device.type == "cuda":
            torch.cuda.synchronize(first.device)
        return time.perf_counter() - started

    for net in nets * 2:  # the first calls choose algorithms and allocate
        net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        measure(net)
    turns: list[list[float]] = []
    until = time.perf_counter() + time_s
    while len(turns) < 7 or time.perf_counter() < until:
        turns.append([measure(net) for net in nets])
    return [median(times) for times in zip(*turns, strict=True)]
