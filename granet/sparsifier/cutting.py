"""Channels cut out of a model in place, and put back: parameters stay the same objects, of another shape."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import increment_version

from granet.common.granularity import ChannelGroup
from granet.maskable import PLAIN
from granet.types import Tensors

Change = Callable[[Tensor, int, str], Tensor]
"""(tensor, axis, group) -> the tensor with other channels along the axis."""


def select(channels: Tensors) -> Change:
    """Keep these channels of every group, by number."""
    return lambda tensor, axis, group: tensor.index_select(axis, channels[group].to(tensor.device))


def scatter(channels: Tensors, sizes: dict[str, int]) -> Change:
    """Put every group's channels to these places among ``sizes`` of them; the others are zero."""

    def change(tensor: Tensor, axis: int, group: str) -> Tensor:
        shape = list(tensor.shape)
        shape[axis] = sizes[group]
        return tensor.new_zeros(shape).index_copy_(axis, channels[group].to(tensor.device), tensor)

    return change


@torch.no_grad()
def resize_(
    model: nn.Module,
    groups: Iterable[ChannelGroup],
    change: Change,
    beside: Callable[[str], Iterable[Tensor]] = lambda name: (),
) -> None:
    """Apply ``change`` to all that has an entry per channel: parameters, their gradients, buffers of BatchNorm.

    ``beside`` names other tensors of a parameter's shape, as masks and an optimizer's state. Layers' sizes follow.
    """
    groups = [*groups]
    if not groups:
        return
    modules: dict[str, Any] = dict(model.named_modules())
    for group in groups:
        sides = [(name, 0) for name in (*group.outputs, *group.vectors)]
        for name, axis in [*sides, *((name, 1) for name in group.inputs)]:
            parameter = model.get_parameter(name)
            gradient, parameter.grad = parameter.grad, None
            for tensor in (parameter, gradient, *beside(name)):
                if tensor is not None:
                    _put(tensor, change(tensor.data, axis, group.name))
            parameter.grad = gradient
        for name in group.norms:
            for buffer in modules[name].buffers():
                if buffer.dim() == 1:  # num_batches_tracked is a number
                    _put(buffer, change(buffer, 0, group.name))
                    modules[name].num_features = len(buffer)
            if modules[name].weight is not None:
                modules[name].num_features = len(modules[name].weight)
    for module in modules.values():
        if isinstance(module, PLAIN):
            kind = "features" if isinstance(module, nn.Linear) else "channels"
            outputs, inputs = module.weight.shape[:2]
            setattr(module, f"out_{kind}", outputs)
            setattr(module, f"in_{kind}", inputs * getattr(module, "groups", 1))


def _put(tensor: Tensor, values: Tensor) -> None:
    """Let a tensor hold other values, of another shape: whoever shares it sees them."""
    if tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        values = values.contiguous(memory_format=torch.channels_last)
    if tensor.requires_grad:  # autograd's node of a leaf knows its shape, and is only forgotten with its type
        tensor.data = torch.empty(0, dtype=torch.complex64, device=tensor.device)
    tensor.data = values
    increment_version(tensor)  # for those who look whether it has changed
