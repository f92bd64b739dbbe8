"""Whether losses, gradients and weights are finite, without waiting for a GPU at every step."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from granet.common import distributed
from granet.types import Tensors


@dataclass(frozen=True)
class Fault:
    """What is not finite, in words, and in which optimizer step, counted from 1."""

    what: str
    step: int


@dataclass(frozen=True)
class _Numbers:
    """Loss and norms of the named gradients of a step, on the host; there once a GPU has reached ``sent``."""

    step: int
    names: list[str]
    values: Tensor
    sent: torch.cuda.Event | None


def arrives_late(device: torch.device) -> bool:
    """Whether the host goes on before a device has computed what it is told to, and can be sent numbers meanwhile."""
    return device.type == "cuda"


def measured(model: nn.Module, loss: Tensor) -> Tensor:
    """The loss, 0-dim, and a norm of every gradient: what `FiniteCheck` looks at, one vector on their device."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    # Every process has the same gradients, and is told of each loss: so all of them stop at the same step.
    loss = distributed.add_up(loss.detach().clone())
    # On the CPU the largest magnitude takes ten times as long as the sum of squares, which may overflow.
    order = math.inf if arrives_late(loss.device) else 2.0
    return torch.stack([loss, *torch._foreach_norm(gradients, order)])  # pyright: ignore[reportPrivateImportUsage]


class FiniteCheck:
    """Looks at loss and gradients of every step, before the optimizer takes it.

    A GPU sends its numbers while it goes on, and they are read a step later: so neither waits for the other, and one
    step is taken that should not be. Where that would matter, they are asked for ``now``, or by `settle`.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self._parameters = dict(model.named_parameters())
        self._device = device
        self._is_late = arrives_late(device)
        self._pending: _Numbers | None = None

    def look(self, step: int, numbers: Tensor, *, now: bool) -> Fault | None:
        """What is not finite in ``step``, or in the step before where that has not been told yet.

        ``numbers`` are what `measured` returned of its loss.
        """
        before, self._pending = self._pending, self._send(step, numbers)
        fault = self._read(before)
        return fault or (self.settle() if now or not self._is_late else None)

    def settle(self) -> Fault | None:
        """What is not finite in the last step, if that has not been told yet."""
        last, self._pending = self._pending, None
        return self._read(last)

    def _send(self, step: int, numbers: Tensor) -> _Numbers:
        names = [name for name, p in self._parameters.items() if p.grad is not None]
        values, sent = numbers.to("cpu", non_blocking=self._is_late), None
        if numbers.is_cuda:
            sent = torch.cuda.Event()
            sent.record(torch.cuda.current_stream(self._device))
        return _Numbers(step, names, values, sent)

    def _read(self, numbers: _Numbers | None) -> Fault | None:
        if numbers is None:
            return None
        if numbers.sent is not None:
            numbers.sent.synchronize()
        loss, *norms = numbers.values.tolist()
        if not math.isfinite(loss):
            return Fault(f"the training loss is {loss}", numbers.step)
        for name, norm in zip(numbers.names, norms, strict=True):
            if not math.isfinite(norm) and (self._is_late or not _is_finite(self._parameters[name].grad)):
                return Fault(f"the gradient of {name} is {norm}", numbers.step)
        return None


def not_finite(tensors: Tensors) -> str | None:
    """The name of the first tensor that holds NaN or infinity. Reads back from the device once.

    >>> not_finite({"a": torch.ones(2), "b": torch.tensor([1.0, -torch.inf])})
    'b'
    """
    floating = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
    flags = torch.stack([tensor.isfinite().all() for tensor in floating.values()]).tolist()
    return next((name for name, is_finite in zip(floating, flags, strict=True) if not is_finite), None)


def _is_finite(tensor: Tensor | None) -> bool:
    return tensor is None or bool(tensor.isfinite().all())
