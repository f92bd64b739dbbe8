"""Sparsity made real: pruned filters are cut out. Masks only simulate it, a masked network computes with its zeros."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from granet.deploy.coupling import channel_groups
from granet.granularity import ChannelGroup
from granet.maskable import PLAIN, maskable_weights
from granet.types import Masks, Tensors, UserError


def shrink(model: nn.Module, masks: Masks) -> nn.Module:
    """A dense copy of ``model`` without its pruned channels: smaller, with the same outputs in eval mode.

    A channel goes where the filters that make it are inactive in ``masks`` (weights not named are active) and the
    vectors over it (BatchNorm, biases) are zero: only then is it zero itself, and not a constant. One channel of every
    group stays. Device, memory format and modes are the model's. Raises UserError for masks of another network, and as
    `channel_groups` does.
    """
    check_masks(maskable_weights(model), masks)
    kept = {group: _kept(group, model, masks) for group in channel_groups(model)}
    smaller = copy.deepcopy(model)
    modules: dict[str, Any] = dict(smaller.named_modules())
    for group, channels in kept.items():
        for name in (*group.outputs, *group.vectors):
            _cut(smaller.get_parameter(name), 0, channels)
        for name in group.inputs:
            _cut(smaller.get_parameter(name), 1, channels)
        for name in group.norms:
            for buffer in modules[name].buffers():
                if buffer.dim() == 1:  # num_batches_tracked is a number
                    _cut(buffer, 0, channels)
            modules[name].num_features = len(channels)
    for module in modules.values():
        if isinstance(module, PLAIN):
            kind = "features" if isinstance(module, nn.Linear) else "channels"
            for side, size in zip(("out", "in"), module.weight.shape[:2], strict=True):
                setattr(module, f"{side}_{kind}", size)
    return smaller


def _kept(group: ChannelGroup, model: nn.Module, masks: Masks) -> Tensor:
    """Indices of the channels that stay, in order."""
    everywhere = torch.ones(group.size, dtype=torch.bool)
    alive = ~everywhere
    for name in group.outputs:
        alive |= masks[name].flatten(1).any(1).cpu() if name in masks else everywhere
    for name in group.vectors:
        alive |= (model.get_parameter(name).detach() != 0).cpu()
    for name in group.norms:  # without weight and bias it makes a constant of zero: minus the mean
        alive |= everywhere if model.get_submodule(name).weight is None else ~everywhere
    return alive.nonzero().flatten() if alive.any() else torch.tensor([0])


def _cut(tensor: Tensor, axis: int, channels: Tensor) -> None:
    """Keep these channels of a parameter or buffer, in place: whoever shares it sees the smaller one."""
    smaller = tensor.data.index_select(axis, channels.to(tensor.device))
    if tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        smaller = smaller.contiguous(memory_format=torch.channels_last)
    tensor.data = smaller


def check_masks(weights: Tensors, masks: Masks) -> None:
    """Raise UserError unless every mask has its weight, of its shape, that is zero where the mask is inactive."""
    for name, mask in masks.items():
        if name not in weights:
            raise UserError(f"masks: {name!r} is no weight of this model; give the masks of the same run")
        if mask.dtype != torch.bool or mask.shape != weights[name].shape:
            raise UserError(
                f"masks[{name!r}] is {mask.dtype} {tuple(mask.shape)} but must be bool of the weight's shape, "
                f"{tuple(weights[name].shape)}; give the masks of the same run"
            )
        if num_wrong := int((weights[name].detach()[~mask.to(weights[name].device)] != 0).sum()):
            raise UserError(
                f"masks[{name!r}]: {num_wrong} weights are not zero where it is inactive; give the same run's masks"
            )
