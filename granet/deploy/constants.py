"""Which channels hold the same number at every position of every image, and which number that is.

A filter without active weights makes a constant: its bias, of which BatchNorm in eval mode and ReLU make another one.
So does a filter that reads nothing but constants.
"""

from typing import Any

import torch
from torch import Tensor, fx, nn

from granet.maskable import PLAIN
from granet.sparsifier.coupling import NORMS, trace
from granet.types import Masks, Tensors

VARIES = torch.tensor(torch.nan, dtype=torch.float64)
"""Stands for a channel that is no constant: whatever is computed from it is none either."""
POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)


def active_columns(name: str, weight: Tensor, masks: Masks) -> Tensor:
    """(O, I), True where a weight that output reads input by is active; weights not in ``masks`` are."""
    mask = masks[name].cpu() if name in masks else torch.ones(weight.shape, dtype=torch.bool)
    return mask.reshape(*mask.shape[:2], -1).any(2)


def constants_read(model: nn.Module, masks: Masks) -> Tensors:
    """For every weight of a convolution or linear layer, what the channels (I,) are that it reads; float64, by name.

    NaN stands for what varies, and for what cannot become a bias: a constant other than zero where positions outside
    of the image are read as zeros, or one that differs from call to call. All is as in eval mode. Raises UserError as
    `channel_groups` does, which has to know the model.
    """
    graph = trace(model)
    walk = _Walk(model, graph, masks)
    walk.run(*(VARIES for node in graph.nodes if node.op == "placeholder"))
    return walk.read


class _Walk(fx.Interpreter):
    """Runs a network on a number per channel (C,) in the place of images. In-place calls are in place here as well."""

    def __init__(self, model: nn.Module, graph: fx.Graph, masks: Masks) -> None:
        super().__init__(model, graph=graph)
        self.read: Tensors = {}
        self._masks = masks
        self._names = {id(value): name for name, value in model.named_parameters()}

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        module: Any = self.submodules[target]
        [x_C] = (*args, *kwargs.values())
        if isinstance(module, PLAIN):
            return self._layer(module, x_C)
        if isinstance(module, NORMS):
            return _normalised(module, x_C)
        if isinstance(module, nn.ReLU):
            return module(x_C)
        if isinstance(module, nn.AvgPool2d) and (
            module.padding not in (0, (0, 0)) or module.divisor_override
        ):
            return _zeros_of(x_C)
        return x_C.clone() if isinstance(module, POOLS) else x_C

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        if target is torch.flatten:
            return next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        return super().call_function(target, args, kwargs)

    def call_method(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        if target == "mean":  # over the positions
            return args[0].clone()
        return super().call_method(target, args, kwargs)

    def _layer(self, module: Any, x_I: Tensor) -> Tensor:
        name = self._names[id(module.weight)]
        weight_OIK = _exactly(module.weight).reshape(*module.weight.shape[:2], -1)
        x_I = x_I.expand(weight_OIK.shape[1])
        if any(getattr(module, "padding", ())) and module.padding_mode == "zeros":  # a word counts as some
            x_I = _zeros_of(x_I)
        self.read[name] = torch.where(x_I == self.read.get(name, x_I), x_I, VARIES)
        varies_O = (active_columns(name, module.weight, self._masks) & x_I.isnan()).any(1)
        made_O = weight_OIK.sum(2) @ x_I.nan_to_num(0)
        if module.bias is not None:
            made_O = made_O + _exactly(module.bias)
        return torch.where(varies_O, VARIES, made_O)


def _normalised(norm: Any, x_C: Tensor) -> Tensor:
    """What BatchNorm makes of constants: by its running statistics, or else by the batch's."""
    if norm.running_mean is None:
        x_C = x_C - x_C
    else:
        x_C = (x_C - _exactly(norm.running_mean)) / (_exactly(norm.running_var) + norm.eps).sqrt()
    if norm.weight is not None:
        x_C = x_C * _exactly(norm.weight)
    return x_C if norm.bias is None else x_C + _exactly(norm.bias)


def _zeros_of(x_C: Tensor) -> Tensor:
    """Without the constants that zeros around an image would show as such."""
    return torch.where(x_C == 0, x_C, VARIES)


def _exactly(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().double()
