"""A convolution whose weights stay as they are: what its kernel must know of them is worked out once per shape."""

import ctypes
from typing import Any

import torch
from torch import Tensor

from granet.kernels import ops


class _Plan:
    """A plan of the kernels, there as long as anybody computes with it."""

    def __init__(self, *arguments: Any) -> None:
        self.address = ctypes.c_void_p(ops.kernels().granet_plan(*arguments))

    def __del__(self) -> None:
        ops.kernels().granet_forget(self.address)


class Planned:
    """Computes `ops.forward`, and keeps the plan of the last shape, until the weight changes (not by its ``.data``)."""

    def __init__(self) -> None:
        self._last: tuple[tuple[Any, ...], Tensor, _Plan] | None = None

    def forward(
        self,
        x: Tensor,
        weight_OIHW: Tensor,
        bias_O: Tensor | None,
        lists: list[Tensor],
        stride: int,
        padding: list[int],
        relu: bool,
    ) -> Tensor:
        """The convolution, (N, C, H, W) -> (N, O, OH, OW), then ReLU if wanted."""
        y = ops.forward_fake(x, weight_OIHW, bias_O, lists, stride, padding, relu)
        shape = ctypes.byref(ops.shape_of(x, y, weight_OIHW, stride, padding))
        kind = ops.is_bf16(x), torch.get_num_threads()
        version = 0 if weight_OIHW.is_inference() else weight_OIHW._version
        made_for = (x.shape, kind, weight_OIHW.data_ptr(), version)
        last = self._last  # another thread may put its own there
        if last is None or last[0] != made_for:
            plan = _Plan(ops.pointer(weight_OIHW), shape, ctypes.byref(ops.lists_of(lists)), *kind)
            last = self._last = made_for, weight_OIHW, plan  # no other weight gets this one's address
        tensors = map(ops.pointer, (x, bias_O, y))
        ops.kernels().granet_forward_planned(last[2].address, *tensors, shape, int(relu), *kind)
        return y

    def __deepcopy__(self, memo: dict) -> "Planned":
        return Planned()

    def __reduce__(self) -> tuple[type, tuple]:
        return Planned, ()
