"""Layers whose activations lie batch innermost.

A tensor keeps its usual shape (N, C, H, W), but its memory is (C, H, W, N): what the kernels want, and what sums and
torch's own pooling (on a channels_last tensor of C images with N channels) go along with. Only the first sparse
convolution, and a dense one between sparse ones, converts.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from granet.kernels import ops  # noqa: F401  (makes the operators known to torch)
from granet.kernels.activations import batch_innermost, is_batch_innermost, precision
from granet.kernels.pattern import Pattern, pattern_of


class Active:
    """The active weights of one convolution: its mask, and the lists made of it, anew whenever the mask has changed."""

    def __init__(self, mask: Tensor, reads_gradient: Callable[[], bool], pays: Callable[[], bool]) -> None:
        self.mask = mask
        self.reads_gradient = reads_gradient
        self.pays = pays
        self._pattern: Pattern | None = None
        self._made_of: tuple[int, tuple[int, ...]] | None = None

    def __deepcopy__(self, memo: dict) -> "Active":
        """Of a copy of the mask, whose version begins anew: so the lists are not taken along."""
        return Active(copy.deepcopy(self.mask, memo), self.reads_gradient, self.pays)

    def pattern(self, conv: nn.Conv2d) -> Pattern:
        """The lists for the mask as it is now, and the weight as it lies in memory."""
        made_of = self.mask._version, conv.weight.stride()
        if self._pattern is None or self._made_of != made_of:
            stride, padding = conv.stride, conv.padding
            assert not isinstance(padding, str)
            self._pattern = pattern_of(
                self.mask, conv.weight, (stride[0], stride[1]), (padding[0], padding[1])
            )
            self._made_of = made_of
        return self._pattern


class SparseConv2d(nn.Conv2d):
    """A convolution that computes with its active weights alone, while that pays; else an ordinary one.

    In fp32, or in bf16 with sums in fp32 where autocast asks for that.
    """

    active: Active

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, O, OH, OW), batch innermost where it computes sparsely."""
        weight = self.weight  # of another type or elsewhere by now, perhaps
        is_known = weight.dtype == torch.float32 and weight.device.type == "cpu"
        is_batch = input.dim() == 4 and input.numel() > 0
        if not is_known or not is_batch or not self.active.pays():
            return super().forward(input)
        return _Convolution.apply(input.to(precision()), self.weight, self.bias, self)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, conv: SparseConv2d) -> Tensor:
        x = batch_innermost(x)
        pattern = conv.active.pattern(conv)
        ctx.conv, ctx.pattern, ctx.has_bias = conv, pattern, bias is not None
        ctx.save_for_backward(x, weight)
        return torch.ops.granet.sparse_forward(
            x, weight, bias, list(pattern.forward), conv.stride[0], list(conv.padding), False
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight = ctx.saved_tensors
        conv, phases = ctx.conv, ctx.pattern.phases
        gradient = batch_innermost(gradient)
        stride, padding = conv.stride[0], list(conv.padding)
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            lists = [tensor for phase in phases for tensor in phase.lists]
            taps = [size for phase in phases for size in phase.taps]
            starts = [place for phase in phases for place in phase.start]
            of_x = torch.ops.granet.sparse_input_gradient(
                gradient, weight, lists, taps, starts, stride, x.shape[2:]
            )
        if ctx.needs_input_grad[1]:
            if conv.active.reads_gradient():
                of_weight = dense_gradient(x, gradient, conv)
            else:
                of_weight = torch.ops.granet.sparse_weight_gradient(
                    x, gradient, weight, list(ctx.pattern.forward), stride, padding
                )
        if ctx.has_bias and ctx.needs_input_grad[2]:
            of_bias = gradient.sum((0, 2, 3), dtype=torch.float32)
        return of_x, of_weight, of_bias, None


def dense_gradient(x: Tensor, gradient: Tensor, conv: nn.Conv2d) -> Tensor:
    """The gradient of all weights, by torch."""
    x, gradient = (t.contiguous(memory_format=torch.channels_last) for t in (x, gradient))
    weight, wanted = conv.weight.to(x.dtype), (False, True, False)
    of_weight = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, conv.stride, conv.padding, conv.dilation, False, [0, 0], 1, wanted
    )[1]
    return of_weight.to(conv.weight.dtype)


class BatchInnermostNorm(nn.BatchNorm2d):
    """BatchNorm over (H, W, N), which lie side by side: in training a channel is read from memory once, not thrice."""

    rectifies = False
    """Whether the ReLU behind it is done here."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) -> the same, in the same memory order."""
        few = input.numel() <= input.shape[1]
        if few or not is_batch_innermost(input) or not self._is_known(input):
            return super().forward(
                input
            )  # which refuses to train on one value per channel, and learns nothing of none
        if self.training or self.running_mean is None:
            y, mean, scale = _Norm.apply(input, self.weight, self.bias, self.eps, self.rectifies)
            self._follow(mean, scale, input.numel() // len(mean))
        elif torch.is_grad_enabled():
            return super().forward(input)
        else:
            statistics = (self.running_mean, self.running_var, self.eps, self.rectifies)
            y = torch.ops.granet.norm_apply(input, self.weight, self.bias, *statistics)
        y.is_rectified = self.rectifies
        return y

    def _is_known(self, input: Tensor) -> bool:
        """Whether the kernels are for its type, and that of what the layer holds."""
        held = (self.weight, self.running_mean)
        is_plain = all(tensor is None or tensor.dtype == torch.float32 for tensor in held)
        return is_plain and input.device.type == "cpu" and input.dtype in (torch.float32, torch.bfloat16)

    @torch.no_grad()
    def _follow(self, mean: Tensor, scale: Tensor, count: int) -> None:
        """Move the running statistics, as torch's own layer does."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
        variance = (scale**-2 - self.eps).clamp_(min=0) * (count / max(1, count - 1))
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, relu: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        y, mean, scale = torch.ops.granet.norm(x, weight, bias, eps, relu)
        ctx.relu = relu
        ctx.save_for_backward(x, weight, bias, mean, scale)
        ctx.mark_non_differentiable(mean, scale)
        return y, mean, scale

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight, bias, mean, scale = ctx.saved_tensors
        of_x, of_weight, of_bias = torch.ops.granet.norm_gradients(
            x, batch_innermost(gradient), weight, bias, mean, scale, ctx.relu
        )
        return of_x, None if weight is None else of_weight, None if bias is None else of_bias, None, None


class Rectifier(nn.ReLU):
    """ReLU, which a normalisation before it may have done already."""

    def forward(self, input: Tensor) -> Tensor:
        """max(0, x)."""
        if getattr(input, "is_rectified", False):
            return input
        if not is_batch_innermost(input):
            return super().forward(input)
        return _Rectify.apply(input, self.inplace)


class _Rectify(torch.autograd.Function):
    """Gradients come in any memory order, as from an average over all pixels; here they go on in that of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, in_place: bool) -> Tensor:
        if in_place:
            ctx.mark_dirty(x)
        y = x.relu_() if in_place else x.relu()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (y,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(batch_innermost(gradient), y, 0), None


class _Pool:
    def forward(self, input: Tensor) -> Tensor:
        is_batch = is_batch_innermost(input) and input.numel() > 0
        if not is_batch or getattr(self, "return_indices", False):
            return super().forward(input)  # pyright: ignore[reportAttributeAccessIssue]
        # for torch: C images with N channels, channels_last
        return super().forward(input.transpose(0, 1)).transpose(0, 1)  # pyright: ignore[reportAttributeAccessIssue]


class BatchInnermostMaxPool(_Pool, nn.MaxPool2d):
    """Max-pooling."""


class BatchInnermostAvgPool(_Pool, nn.AvgPool2d):
    """Average pooling."""


class BatchInnermostAdaptiveAvgPool(_Pool, nn.AdaptiveAvgPool2d):
    """Average pooling to a size."""


OTHERS: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm2d: BatchInnermostNorm,
    nn.ReLU: Rectifier,
    nn.MaxPool2d: BatchInnermostMaxPool,
    nn.AvgPool2d: BatchInnermostAvgPool,
    nn.AdaptiveAvgPool2d: BatchInnermostAdaptiveAvgPool,
}
"""What stands in for torch's own layers, which would copy their input to another order."""
