"""How fast networks are, side by side."""

import copy
import time
from collections.abc import Iterator, Sequence
from itertools import count
from statistics import median

import torch
from torch import nn

MIN_TURNS = 7


@torch.inference_mode()
def latencies(
    models: Sequence[nn.Module], image_shape: Sequence[int], batch_size: int, *, time_s: float = 3.0
) -> list[float]:
    """Seconds that each model takes for a batch in eval mode: the median, models taking turns.

    ``image_shape`` is (C, H, W). Measured on the models' device for about ``time_s`` in all, at least MIN_TURNS turns.
    Taking turns lets whatever else the machine does slow all of them alike.
    """
    nets = [copy.deepcopy(model).eval() for model in models]
    first = next(nets[0].parameters())
    images_NCHW = torch.randn(batch_size, *image_shape, device=first.device, dtype=first.dtype)
    images_NCHW = images_NCHW.contiguous(memory_format=torch.channels_last)

    def measure(net: nn.Module) -> float:
        started = time.perf_counter()
        net(images_NCHW)
        if first.device.type != "cpu":
            torch.accelerator.synchronize(first.device)
        return time.perf_counter() - started

    for net in nets * 2:  # the first calls choose algorithms and allocate
        net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        measure(net)
    turns = [[measure(net) for net in nets] for _ in _turns(time_s)]
    return [median(times) for times in zip(*turns, strict=True)]


@torch.inference_mode()
def layer_latencies(
    models: Sequence[nn.Module],
    layers: Sequence[str],
    image_shape: Sequence[int],
    batch_size: int,
    *,
    time_s: float = 3.0,
) -> dict[str, list[float]]:
    """Seconds that each layer takes in each model, on the CPU: medians over forwards of a batch, models taking turns.

    A layer's name may end a longer one, as where a module wraps the network.
    """
    times = {layer: [[] for _ in models] for layer in layers}
    hooks = []
    for index, model in enumerate(models):
        modules = dict(model.named_modules())
        for layer, measured in times.items():
            module = next(each for name, each in modules.items() if f".{name}".endswith(f".{layer}"))
            watch = _Watch(measured[index])
            hooks += [module.register_forward_pre_hook(watch.start), module.register_forward_hook(watch.stop)]
    images_NCHW = torch.randn(batch_size, *image_shape).contiguous(memory_format=torch.channels_last)
    for model in models:
        model(images_NCHW)
    for each in times.values():
        for measured in each:
            measured.clear()  # the first calls choose algorithms and allocate
    for _ in _turns(time_s):
        for model in models:
            model(images_NCHW)
    for hook in hooks:
        hook.remove()
    return {layer: [median(measured) for measured in each] for layer, each in times.items()}


class _Watch:
    """Hooks that append the seconds of every call of a module to a list."""

    def __init__(self, seconds: list[float]) -> None:
        self._seconds = seconds
        self._started = 0.0

    def start(self, *_: object) -> None:
        self._started = time.perf_counter()

    def stop(self, *_: object) -> None:
        self._seconds.append(time.perf_counter() - self._started)


def _turns(time_s: float) -> Iterator[int]:
    """MIN_TURNS, and more while the time lasts."""
    until = time.perf_counter() + time_s
    for turn in count():
        if turn >= MIN_TURNS and time.perf_counter() >= until:
            return
        yield turn
