"""A convolution whose weights stay as they are: what its kernel must know of them is worked out once per shape."""

import ctypes
from typing import Any

import torch
from torch import Tensor

from granet.kernels import ops


class Planned:
    """Computes `ops.forward`, and keeps the plan of the last shape, until the weight changes."""

    def __init__(self) -> None:
        self._made_for: tuple[Any, ...] | None = None
        self._plan: int | None = None

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
        kernels, threads = ops.kernels(), torch.get_num_threads()
        shape, is_bf16 = ops.shape_of(x, y, weight_OIHW, stride, padding), ops.is_bf16(x)
        version = 0 if weight_OIHW.is_inference() else weight_OIHW._version
        made_for = (x.shape, x.dtype, threads, weight_OIHW.data_ptr(), version)
        if self._made_for != made_for:
            self._forget()
            self._plan = kernels.granet_plan(
                ops.pointer(weight_OIHW),
                ctypes.byref(shape),
                ctypes.byref(ops.lists_of(lists)),
                is_bf16,
                threads,
            )
            self._made_for = made_for
        tensors = map(ops.pointer, (x, bias_O, y))
        kernels.granet_forward_planned(
            ctypes.c_void_p(self._plan), *tensors, ctypes.byref(shape), int(relu), is_bf16, threads
        )
        return y

    def _forget(self) -> None:
        if self._plan is not None:
            ops.kernels().granet_forget(ctypes.c_void_p(self._plan))
        self._plan = self._made_for = None

    def __del__(self) -> None:
        self._forget()

    def __deepcopy__(self, memo: dict) -> "Planned":
        return Planned()

    def __reduce__(self) -> tuple[type, tuple]:
        return Planned, ()
