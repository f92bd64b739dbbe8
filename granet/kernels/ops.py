"""The kernels as torch operators, so that FakeTensors and torch.compile know their shapes.

Shapes: C input and O output channels, H x W pixels, N images. Activations are (N, C, H, W), fp32 or bf16, with the
images innermost in memory: `activations.batch_innermost`.
"""

import ctypes
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from granet.kernels import build
from granet.kernels.activations import empty

INT64 = ("N", "C", "H", "W", "O", "OH", "OW", "YH", "YW")
INT32 = ("KH", "KW", "stride", "in_h", "in_w", "out_stride", "out_h", "out_w")


class _Shape(ctypes.Structure):
    _fields_ = (*((name, ctypes.c_int64) for name in INT64), *((name, ctypes.c_int32) for name in INT32))


class _Lists(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_void_p) for name in ("begin", "place", "source"))


def kernels() -> ctypes.CDLL:
    loaded = build.load()
    if isinstance(loaded, str):
        raise RuntimeError(f"there are no sparse kernels: {loaded}")
    return loaded


def pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def lists_of(lists: Sequence[Tensor]) -> _Lists:
    return _Lists(*(tensor.data_ptr() for tensor in lists))


def is_bf16(x: Tensor) -> int:
    return int(x.dtype == torch.bfloat16)


def shape_of(x: Tensor, y: Tensor, weight_OIHW: Tensor, stride: int, padding: list[int]) -> _Shape:
    """Of a convolution that reads all of x and writes all of y."""
    (N, C, H, W), (_, outs, OH, OW) = x.shape, y.shape
    taps = weight_OIHW.shape[2:]
    return _Shape(N, C, H, W, outs, OH, OW, OH, OW, *taps, stride, -padding[0], -padding[1], 1, 0, 0)


def out_size(size: int, taps: int, stride: int, padding: int) -> int:
    """Rows or columns of a convolution's output."""
    return (size + 2 * padding - taps) // stride + 1


def forward(
    x: Tensor,
    weight_OIHW: Tensor,
    bias_O: Tensor | None,
    lists: list[Tensor],
    stride: int,
    padding: list[int],
    relu: bool,
) -> Tensor:
    """The convolution, (N, C, H, W) -> (N, O, OH, OW), then ReLU if wanted."""
    y = forward_fake(x, weight_OIHW, bias_O, lists, stride, padding, relu)
    kernels().granet_forward(
        *map(pointer, (x, weight_OIHW, bias_O, y)),
        ctypes.byref(shape_of(x, y, weight_OIHW, stride, padding)),
        ctypes.byref(lists_of(lists)),
        int(relu),
        is_bf16(x),
        torch.get_num_threads(),
    )
    return y


def forward_fake(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    lists: list[Tensor],
    stride: int,
    padding: list[int],
    relu: bool,
) -> Tensor:
    height, width = (out_size(x.shape[i + 2], weight.shape[i + 2], stride, padding[i]) for i in (0, 1))
    if x.shape[1] != weight.shape[1] or min(height, width) < 1:
        raise ValueError(f"x {tuple(x.shape)} does not fit weight {tuple(weight.shape)}, padding {padding}")
    return empty(x, weight.shape[0], height, width)


def input_gradient(
    gradient: Tensor,
    weight_OIHW: Tensor,
    lists: list[Tensor],
    taps: list[int],
    starts: list[int],
    stride: int,
    size: list[int],
) -> Tensor:
    """The gradient of the input, (N, O, OH, OW) -> (N, C, *size): one convolution for each parity (`Phase`)."""
    result = _input_gradient_fake(gradient, weight_OIHW, lists, taps, starts, stride, size)
    N, outs, OH, OW = gradient.shape
    for i, (h, w) in enumerate((h, w) for h in range(stride) for w in range(stride)):
        here = (-(-(size[0] - h) // stride), -(-(size[1] - w) // stride))
        if min(here) < 1:
            continue
        window = (max(1, taps[2 * i]), max(1, taps[2 * i + 1]), 1, starts[2 * i], starts[2 * i + 1])
        shape = _Shape(N, outs, OH, OW, result.shape[1], *here, *size, *window, stride, h, w)
        kernels().granet_forward(
            *map(pointer, (gradient, weight_OIHW, None, result)),
            ctypes.byref(shape),
            ctypes.byref(lists_of(lists[3 * i : 3 * i + 3])),
            0,
            is_bf16(gradient),
            torch.get_num_threads(),
        )
    return result


def _input_gradient_fake(
    gradient: Tensor,
    weight: Tensor,
    lists: list[Tensor],
    taps: list[int],
    starts: list[int],
    stride: int,
    size: list[int],
) -> Tensor:
    return empty(gradient, weight.shape[1], *size)


def weight_gradient(
    x: Tensor, gradient: Tensor, weight_OIHW: Tensor, lists: list[Tensor], stride: int, padding: list[int]
) -> Tensor:
    """The gradient of the active weights in a dense tensor that is zero elsewhere, laid out as the weight is."""
    result = torch.zeros_like(weight_OIHW)
    kernels().granet_weight_gradient(
        *map(pointer, (x, gradient, result)),
        ctypes.byref(shape_of(x, gradient, weight_OIHW, stride, padding)),
        ctypes.byref(lists_of(lists)),
        is_bf16(x),
        torch.get_num_threads(),
    )
    return result


def _weight_gradient_fake(
    x: Tensor, gradient: Tensor, weight: Tensor, lists: list[Tensor], stride: int, padding: list[int]
) -> Tensor:
    return torch.empty_like(weight)


def norm(
    x: Tensor, weight_C: Tensor | None, bias_C: Tensor | None, eps: float, relu: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Each channel normalised, then ReLU if wanted; also the channels' means and 1 / sqrt(variance + eps)."""
    y, mean, scale = _norm_fake(x, weight_C, bias_C, eps, relu)
    tensors = map(pointer, (x, weight_C, bias_C, y, mean, scale))
    sizes = (ctypes.c_int64(len(mean)), ctypes.c_int64(x.numel() // len(mean)))
    kernels().granet_norm_forward(
        *tensors, *sizes, ctypes.c_float(eps), int(relu), is_bf16(x), torch.get_num_threads()
    )
    return y, mean, scale


def _norm_fake(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, relu: bool
) -> tuple[Tensor, Tensor, Tensor]:
    mean, scale = (x.new_empty(x.shape[1], dtype=torch.float32) for _ in range(2))
    return empty(x, *x.shape[1:]), mean, scale


def norm_apply(
    x: Tensor,
    weight_C: Tensor | None,
    bias_C: Tensor | None,
    mean_C: Tensor,
    variance_C: Tensor,
    eps: float,
    relu: bool,
) -> Tensor:
    """Each channel normalised by given statistics, then ReLU if wanted."""
    y = empty(x, *x.shape[1:])
    tensors = map(pointer, (x, weight_C, bias_C, mean_C, variance_C, y))
    sizes = (ctypes.c_int64(len(mean_C)), ctypes.c_int64(x.numel() // len(mean_C)))
    kernels().granet_norm_apply(
        *tensors, *sizes, ctypes.c_float(eps), int(relu), is_bf16(x), torch.get_num_threads()
    )
    return y


def _norm_apply_fake(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    eps: float,
    relu: bool,
) -> Tensor:
    return empty(x, *x.shape[1:])


def norm_gradients(
    x: Tensor,
    gradient: Tensor,
    weight_C: Tensor | None,
    bias_C: Tensor | None,
    mean_C: Tensor,
    scale_C: Tensor,
    relu: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of `norm`'s input, weight and bias."""
    results = _norm_gradients_fake(x, gradient, weight_C, bias_C, mean_C, scale_C, relu)
    tensors = map(pointer, (x, gradient, weight_C, bias_C, mean_C, scale_C, *results))
    sizes = (ctypes.c_int64(len(mean_C)), ctypes.c_int64(x.numel() // len(mean_C)))
    kernels().granet_norm_backward(*tensors, *sizes, int(relu), is_bf16(x), torch.get_num_threads())
    return results


def _norm_gradients_fake(
    x: Tensor,
    gradient: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor,
    scale: Tensor,
    relu: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return empty(x, *x.shape[1:]), torch.empty_like(mean), torch.empty_like(mean)


_OPERATORS: tuple[tuple[str, Callable, Callable], ...] = (
    (
        "sparse_forward(Tensor x, Tensor weight, Tensor? bias, Tensor[] lists, int stride, int[] padding, bool relu)"
        " -> Tensor",
        forward,
        forward_fake,
    ),
    (
        "sparse_input_gradient(Tensor gradient, Tensor weight, Tensor[] lists, int[] taps, int[] starts, int stride,"
        " SymInt[] size) -> Tensor",
        input_gradient,
        _input_gradient_fake,
    ),
    (
        "sparse_weight_gradient(Tensor x, Tensor gradient, Tensor weight, Tensor[] lists, int stride, int[] padding)"
        " -> Tensor",
        weight_gradient,
        _weight_gradient_fake,
    ),
    (
        "norm(Tensor x, Tensor? weight, Tensor? bias, float eps, bool relu) -> (Tensor, Tensor, Tensor)",
        norm,
        _norm_fake,
    ),
    (
        "norm_apply(Tensor x, Tensor? weight, Tensor? bias, Tensor mean, Tensor variance, float eps, bool relu)"
        " -> Tensor",
        norm_apply,
        _norm_apply_fake,
    ),
    (
        "norm_gradients(Tensor x, Tensor gradient, Tensor? weight, Tensor? bias, Tensor mean, Tensor scale, bool relu)"
        " -> (Tensor, Tensor, Tensor)",
        norm_gradients,
        _norm_gradients_fake,
    ),
)
_LIBRARY = torch.library.Library("granet", "DEF")
for _schema, _kernel, _fake in _OPERATORS:
    _LIBRARY.define(_schema)
    _name = _schema.partition("(")[0]
    _LIBRARY.impl(_name, _kernel, "CPU")
    torch.library.register_fake(f"granet::{_name}", _fake, lib=_LIBRARY)
