"""A GPU that is none: tensors that say cuda:0, have their values on the CPU, and obey what CUDA asks of a program.

Torch's own FakeTensorMode has no values, by which a mask update decides, and no backward pass where there is no driver.
Here two devices in one operation raise, as does a generator of the wrong one, and whatever makes the host wait for the
device is counted. What this cannot show: rounding, memory, speed, and what only CUDA's own kernels refuse.
"""

import inspect
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from granet.data.augment import _affine
from granet.training import bookkeeping, optimizer, run

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
HOST = torch.device("cpu", 0)
"""The CPU where a tensor is sent there; without a number it is what C++ takes the tensors of the GPU for."""
aten = torch.ops.aten
_parse_to: Any = getattr(torch._C, "_nn")._parse_to  # noqa: B009
COPIES = (aten._to_copy, aten.copy_, aten._foreach_copy_)
"""What may have tensors of two devices."""
INDEXING = (aten.index, aten.index_put_, aten._index_put_impl_)
"""Indices may lie on the host. A mask of bools becomes indices, whose number the host has to know."""
ASKING = (
    aten._local_scalar_dense,
    aten.nonzero,
    aten.masked_select,
    aten.equal,
    aten._unique2,
    aten.bincount,
)
"""What the host needs an answer for."""


class OnGpu(Tensor):
    """A tensor of the pretended GPU, with its values in ``behind``. For C++ it is one of the CPU: see `of`."""

    behind: Tensor
    device = property(lambda self: CUDA)  # pyright: ignore[reportAssignmentType]
    is_cuda = property(lambda self: True)  # pyright: ignore[reportAssignmentType]
    is_cpu = property(lambda self: False)  # pyright: ignore[reportAssignmentType]

    @staticmethod
    def of(behind: Tensor) -> "OnGpu":
        """``behind``, on the GPU. Autograd's engine asks the driver for devices of C++'s own."""
        layout = {
            "strides": behind.stride(),
            "storage_offset": behind.storage_offset(),
            "dtype": behind.dtype,
        }
        tensor = Tensor._make_wrapper_subclass(OnGpu, behind.size(), **layout, device=CPU)  # type: ignore[attr-defined]
        tensor.behind = behind
        return tensor

    def __repr__(self, **_: Any) -> str:
        return f"OnGpu({self.behind!r})"

    def to(self, *args: Any, copy: bool = False, **kwargs: Any) -> Tensor:
        """As for any tensor, by the device that it says it is on."""
        if args and isinstance(args[0], Tensor):
            args = (args[0].device, args[0].dtype, *args[1:])
        device, dtype, non_blocking, memory_format = _parse_to(*args, **kwargs)
        if device is not None and device.type == "cpu":
            return aten._to_copy(self, device=HOST, dtype=dtype, non_blocking=non_blocking)
        return super().to(
            dtype=dtype or self.dtype, copy=copy, memory_format=memory_format or torch.preserve_format
        )

    def cpu(self, **_: Any) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.to(HOST)

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    __array__ = numpy

    def __deepcopy__(self, memo: dict) -> Tensor:
        if id(self) not in memo:
            copied = self.detach().clone().requires_grad_(self.requires_grad)
            if isinstance(self, nn.Parameter):
                copied._is_param = True  # pyright: ignore[reportAttributeAccessIssue]
            memo[id(self)] = copied
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.behind.__reduce_ex__(
            protocol
        )  # torch.save's file says the CPU, where it is loaded anyhow

    def data_ptr(self) -> int:
        return self.behind.data_ptr()

    @classmethod
    def __torch_dispatch__(cls, function: Any, *_: Any) -> Any:
        raise AssertionError(f"{function}: the pretended GPU is gone")


class Generator(torch.Generator):
    """Random numbers for a device; the host's own, whatever the device."""

    device = CPU  # pyright: ignore[reportAssignmentType]
    devices: ClassVar[dict[int, torch.device]] = {}
    """By address: what reaches an operation is another object for the same generator."""

    def __new__(cls, device: Any = "cpu") -> "Generator":
        generator = super().__new__(cls, "cpu")  # pyright: ignore[reportCallIssue]
        generator.device = cls.devices[generator._cdata] = torch.device(device)
        return generator


class Event:
    """Waiting for one is no sync: the GPU goes on."""

    def record(self, stream: object = None) -> None: ...
    def synchronize(self) -> None: ...


class PretendedGpu(TorchDispatchMode):
    """``syncs`` counts what makes the host wait, by operation."""

    def __init__(self) -> None:
        super().__init__()
        self.syncs: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        values = tree_leaves((args, kwargs))
        known = {id(value.behind): value for value in values if isinstance(value, OnGpu)}
        tensors = [value for value in values if isinstance(value, Tensor)]
        device = kwargs.get("device")
        written = tensors[0] if function._schema.is_mutable and tensors else None
        on_gpu = isinstance(written, OnGpu) if written is not None else bool(known)
        if device is not None:
            on_gpu = device.type == "cuda" or (device == CPU and bool(known))
        self._look(function.overloadpacket, tensors, kwargs, on_gpu)
        args, kwargs = tree_map(
            lambda value: value.behind if isinstance(value, OnGpu) else value, (args, kwargs)
        )
        result = function(*args, **kwargs | ({"device": CPU} if device is not None else {}))

        def wrapped(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            return known[id(value)] if id(value) in known else OnGpu.of(value)

        return tree_map(wrapped, result) if on_gpu else result

    def _look(self, operation: Any, tensors: list[Tensor], kwargs: dict, on_gpu: bool) -> None:
        name, here = operation.__name__, [isinstance(tensor, OnGpu) for tensor in tensors]
        if (generator := kwargs.get("generator")) is not None:
            device = Generator.devices.get(generator._cdata, CPU)
            assert (device.type == "cuda") == on_gpu, f"{name}: a generator of {device}"
        if operation in COPIES:
            leaves, arrives = any(here) and not on_gpu, on_gpu and not all(here)
            waits = not kwargs.get("non_blocking") or (arrives and not all(map(_is_pinned, tensors)))
            if waits and (leaves or arrives):
                self.syncs["copy to the host" if leaves else "copy to the GPU"] += 1
        elif operation in INDEXING:
            odd = [
                t for t, ours in zip(tensors[1:], here[1:], strict=True) if t.dtype == torch.bool or not ours
            ]
            self.syncs["index by a mask, or from the host"] += any(here) and bool(odd)
        elif operation in ASKING:
            self.syncs[name] += any(here)
        elif any(here):
            odd = [t for t, ours in zip(tensors, here, strict=True) if not ours and t.dim()]
            assert not odd, f"{name}: a tensor of the host among those of the GPU"


def _pinned(tensor: Tensor) -> Tensor:
    pinned = tensor.clone()
    pinned.is_pinned_here = True  # pyright: ignore[reportAttributeAccessIssue]
    return pinned


def _is_pinned(tensor: Tensor) -> bool:
    return isinstance(tensor, OnGpu) or hasattr(tensor, "is_pinned_here")


def _autocast(autocast: Any, device: str, *args: Any, **kwargs: Any) -> Any:
    return autocast("cpu" if device == "cuda" else device, *args, **kwargs)


@contextmanager
def pretended_gpu() -> Iterator[PretendedGpu]:
    """In the block there is one GPU."""
    torch._C._ensureCUDADeviceGuardSet()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "_lazy_init", lambda: None)
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "device_count", lambda: 1)
        patch.setattr(torch.cuda, "current_device", lambda: 0)
        patch.setattr(torch.cuda, "current_stream", lambda device=None: None)
        # torch 2.11 asks the driver, where there is none
        patch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
        patch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
        patch.setattr(torch.cuda, "mem_get_info", lambda device=None: (2**40, 2**40))
        patch.setattr(torch.cuda, "Event", Event)
        patch.setattr(torch, "Generator", Generator)
        patch.setattr(Tensor, "pin_memory", _pinned)
        patch.setattr(torch, "autocast", partial(_autocast, torch.autocast))
        patch.setattr(run, "can_replay", lambda device: False)
        patch.setattr(optimizer, "fuses", lambda device: False)  # as its values lie on the CPU
        # a wrapper has a version counter, which no tensor of inference_mode has
        evaluate = torch.no_grad()(inspect.unwrap(bookkeeping.evaluate))
        patch.setattr(bookkeeping, "evaluate", evaluate)
        # a parameter cannot become a tensor of another kind, so modules get new ones
        patch.setattr(torch.__future__, "get_overwrite_module_params_on_conversion", lambda: True)
        _affine.cache_clear()
        torch._C._set_only_lift_cpu_tensors(
            True
        )  # torch.tensor(..., device="cuda") goes by way of the host, and is seen
        try:
            with PretendedGpu() as gpu:
                yield gpu
        finally:
            torch._C._set_only_lift_cpu_tensors(False)
            _affine.cache_clear()
