"""Which channels a network can spare, and why; and the same network with nothing but zeros in them.

A channel is needed where an output that is needed reads it, unless what it holds is a constant that can go into that
output's bias. The logits are needed. So it is known from behind: what only spare filters read is spare too.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from granet.common.granularity import ChannelGroup
from granet.deploy.constants import VARIES, active_columns, constants_read
from granet.kernels import plain_
from granet.maskable import PLAIN
from granet.sparsifier.coupling import channel_groups
from granet.types import Masks

REASONS = {"zero": "always zero", "unread": "read by nobody", "constant": "constant, now in biases"}
"""Why channels can go; the first one that holds counts."""


def silence(model: nn.Module, masks: Masks) -> tuple[nn.Module, Masks, dict[str, list[str]]]:
    """The same network, in eval mode, with zeros in the channels that it can spare; its masks; why they are spare.

    Zero are, in a copy, the filters that make a spare channel, the vectors over it and the columns that read it. What
    it held is in the biases of the layers that read it; one without a bias gets one. The reasons are keys of `REASONS`
    for every channel of every group, by the group's name, and "" for one that is needed. Raises UserError as
    `channel_groups` does.
    """
    model, masks = copy.deepcopy(model), {name: mask.clone() for name, mask in masks.items()}
    plain_(model)
    needs = _Needs(model, masks)
    needs.move_constants(model)
    for group in channel_groups(model):  # some biases are new
        spare = (~needs.channels[group.name]).nonzero().flatten()
        for axis, names in enumerate(((*group.outputs, *group.vectors), group.inputs)):
            for name in names:
                weight = model.get_parameter(name).data
                for tensor in (weight, masks.get(name, weight)):
                    tensor.index_fill_(axis, spare.to(tensor.device), 0)
    return model, masks, {group.name: needs.reasons(group) for group in needs.groups}


class _Needs:
    """What is needed of a network. ``channels``: by group, (C,), True where a channel is."""

    def __init__(self, model: nn.Module, masks: Masks) -> None:
        self.groups = channel_groups(model)
        self.channels = {g.name: torch.zeros(g.size, dtype=torch.bool) for g in self.groups}
        self._made_in = {name: g.name for g in self.groups for name in g.outputs}
        self._constants = constants_read(model, masks)
        self._active = {
            name: active_columns(name, model.get_parameter(name), masks) for name in self._constants
        }
        varying = {name: active & self._constants[name].isnan() for name, active in self._active.items()}
        num_needed = -1
        while num_needed < (num_needed := sum(int(needed.sum()) for needed in self.channels.values())):
            for group in reversed(self.groups):
                self.channels[group.name] = self._seen(group, varying)

    def reasons(self, group: ChannelGroup) -> list[str]:
        """Why each channel is spare, or ""."""
        held = torch.stack([self._constants[name] for name in group.inputs] or [VARIES.expand(group.size)])
        spare = ~self.channels[group.name], (held == 0).all(0), ~self._seen(group, self._active)
        zero, unread, constant = REASONS
        return [
            (zero if is_zero else unread if is_unread else constant) if is_spare else ""
            for is_spare, is_zero, is_unread in zip(*(flags.tolist() for flags in spare), strict=True)
        ]

    def move_constants(self, model: nn.Module) -> None:
        """Into the biases of ``model``, a copy, from all channels that are not needed."""
        names = {id(value): name for name, value in model.named_parameters()}
        read_in = {name: group.name for group in self.groups for name in group.inputs}
        layers: list[Any] = [module for module in model.modules() if isinstance(module, PLAIN)]
        for layer in layers:
            name = names.get(id(layer.weight), "")
            if name not in read_in:
                continue
            weight = layer.weight.detach()
            held_I = self._constants[name].nan_to_num(0) * ~self.channels[read_in[name]]
            shift_O = weight.cpu().double().reshape(*weight.shape[:2], -1).sum(2) @ held_I * self._rows(name)
            if shift_O.any():
                bias = 0 if layer.bias is None else layer.bias.detach()
                shift_O = shift_O.to(weight) + bias
                layer.bias = nn.Parameter(shift_O, layer.weight.requires_grad)

    def _seen(self, group: ChannelGroup, columns: Mapping[str, Tensor]) -> Tensor:
        """(C,), True where a needed output has one of these ``columns`` (O, I)."""
        seen = [columns[name][self._rows(name)].any(0) for name in group.inputs]
        return torch.stack(seen).any(0) if seen else torch.zeros(group.size, dtype=torch.bool)

    def _rows(self, name: str) -> Tensor:
        """(O,), True where an output of this weight is needed."""
        if name in self._made_in:
            return self.channels[self._made_in[name]]
        return torch.ones(len(self._active[name]), dtype=torch.bool)
