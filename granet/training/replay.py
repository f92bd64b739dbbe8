"""Work of a GPU that is the same at every step, recorded once and repeated at one launch (a CUDA graph).

A step of a small network is hundreds of kernels, each shorter than its host takes to launch it: the GPU waits.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

WARM_UP = 3
"""Calls before a recording: in them libraries choose their algorithms and take their memory."""

Outputs = TypeVar("Outputs", bound=tuple[Tensor, ...])


class Replay:
    """A function of tensors on a GPU, recorded when it is called with the same shapes for some time, then repeated.

    It may read and write what stays where it is, leave gradients in parameters that have none, and draw from
    ``generator``; it may not wait for the GPU. Other shapes, as of a last batch, are computed as ever. What it returns
    is overwritten by the next call.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator
        self._calls: Counter[tuple[torch.Size, ...]] = Counter()
        self._shapes: tuple[torch.Size, ...] = ()
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: list[Tensor] = []
        self._outputs: Any = ()
        self._gradients: list[tuple[nn.Parameter, Tensor]] = []

    def __call__(
        self, function: Callable[..., Outputs], *inputs: Tensor, leaves: Iterable[nn.Parameter] = ()
    ) -> Outputs:
        """What ``function(*inputs)`` returns, with the gradients that it leaves in parameters."""
        shapes = tuple(tensor.shape for tensor in inputs)
        if self._graph is None:
            self._calls[shapes] += 1
            if self._calls[shapes] > WARM_UP:
                self._shapes = shapes
                self._record(function, inputs, leaves)
        if self._graph is None or shapes != self._shapes:
            return function(*inputs)
        for recorded, tensor in zip(self._inputs, inputs, strict=True):
            recorded.copy_(tensor)
        self._graph.replay()
        for parameter, gradient in self._gradients:
            parameter.grad = gradient
        return self._outputs

    def _record(
        self, function: Callable[..., Outputs], inputs: tuple[Tensor, ...], leaves: Iterable[nn.Parameter]
    ) -> None:
        self._inputs = [tensor.clone() for tensor in inputs]
        self._graph = torch.cuda.CUDAGraph()
        self._graph.register_generator_state(self._generator)
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._outputs = function(*self._inputs)
        self._gradients = [(p, p.grad) for p in leaves if p.grad is not None]


class Replays:
    """The recordings of one run, by name; none where not ``enabled``."""

    def __init__(self, generator: torch.Generator, *, enabled: bool) -> None:
        self._generator, self._enabled = generator, enabled
        self._replays: dict[str, Replay] = {}

    def __call__(
        self,
        name: str,
        function: Callable[..., Outputs],
        *inputs: Tensor,
        leaves: Iterable[nn.Parameter] = (),
    ) -> Outputs:
        """What ``function(*inputs)`` returns. All functions of one name do the same on inputs of the same shapes."""
        if not self._enabled:
            return function(*inputs)
        replay = self._replays.setdefault(name, Replay(self._generator))
        return replay(function, *inputs, leaves=leaves)


def can_replay(device: torch.device) -> bool:
    """Whether a device repeats recorded work."""
    return device.type == "cuda"
