"""Switches a model's masked convolutions to the sparse kernels."""

from collections.abc import Callable
from typing import Any

import torch
import torch.fx
from torch import nn

from granet.kernels.build import why_not
from granet.types import Masks, UserError


def accelerate(
    model: nn.Module,
    masks: Masks,
    *,
    reads_gradient: Callable[[], bool] = lambda: False,
    pays: Callable[[], bool] = lambda: True,
) -> dict[str, str]:
    """Let ``model`` compute with its active weights alone, in place; returns which masked weights stay dense, and why.

    Parameters, names, state_dict and optimizer stay as they are, so it may come at any time, and again for other
    masks, which take the place of all before. Training goes on as before: forward and both gradients are those of dense
    fp32 arithmetic up to rounding, under autocast to bf16 those of dense bf16 with sums in fp32; second derivatives are
    refused. ``masks`` are followed when they change in place.
    Inactive weights must be zero, and get the gradient zero, but in backward passes where ``reads_gradient()`` holds,
    as for a Sparsifier ``lambda: sparsifier.reads_gradient_at(sparsifier.step + 1)``. While ``pays()`` does not hold,
    all layers compute as before.

    Raises UserError where the kernels cannot be had.
    """
    if reason := why_not():
        raise UserError(f"accelerate: no sparse kernels on this machine: {reason}")
    from granet.kernels.layers import Active, SparseConv2d

    for name, mask in masks.items():
        if mask.device.type != "cpu" and model.get_parameter(name).device.type == "cpu":
            raise UserError(
                f"accelerate: the mask of {name} is on {mask.device}, its weight on the CPU; give masks of the CPU: "
                "{name: mask.cpu() for name, mask in masks.items()}"
            )
    plain_(model)
    before_relu, dense = norms_before_relu(model), {}
    for name, mask in masks.items():
        owner = model.get_submodule(name.rpartition(".")[0])
        if reason := stays_dense(owner):
            dense[name] = reason
            continue
        owner.__class__ = SparseConv2d
        owner.__dict__["active"] = Active(mask, reads_gradient, pays)
    if len(dense) < len(masks):
        follow_memory_order(model)
        for norm in before_relu:
            norm.rectifies = True
    return dense


def follow_memory_order(model: nn.Module) -> None:
    """Let normalisation, pooling and ReLU go along with what the sparse convolutions leave, without a copy."""
    from granet.kernels.layers import OTHERS

    for module in model.modules():
        module.__class__ = OTHERS.get(type(module), type(module))


def plain_(model: nn.Module) -> None:
    """Undo `accelerate`, in place: layers are torch's own again, which can be traced, pickled and compiled."""
    from granet.kernels.layers import OTHERS, SparseConv2d

    own = {SparseConv2d: nn.Conv2d} | {stand_in: kind for kind, stand_in in OTHERS.items()}
    for module in model.modules():
        if (kind := own.get(type(module))) is not None:
            module.__class__ = kind
            for name in ("active", "rectifies"):
                module.__dict__.pop(name, None)


def stays_dense(module: nn.Module) -> str | None:
    """What the kernels do not know about a layer; None where they know it."""
    if type(module) is not nn.Conv2d:
        return f"a {type(module).__name__}, no Conv2d"
    for name, ok in (
        ("groups", module.groups == 1),
        ("dilation", set(module.dilation) == {1}),
        ("stride", module.stride[0] == module.stride[1]),
        ("padding", not isinstance(module.padding, str)),
        ("padding_mode", module.padding_mode == "zeros"),
    ):
        if not ok:
            return f"{name}={getattr(module, name)}"
    return None if module.weight.device.type == "cpu" else f"on {module.weight.device}"


def norms_before_relu(model: nn.Module) -> list[Any]:
    """The normalisations whose output goes to a ReLU and nowhere else, as far as the model's forward can be traced."""
    try:
        nodes = torch.fx.symbolic_trace(model).graph.nodes
    except Exception:  # a forward may do anything: then ReLU stays a pass of its own
        return []
    fits: dict[str, bool] = {}
    for node in nodes:
        if node.op == "call_module":
            next_to = [str(user.target) for user in node.users if user.op == "call_module"]
            only = len(next_to) == len(node.users) == 1 and type(model.get_submodule(next_to[0])) is nn.ReLU
            fits[str(node.target)] = fits.get(str(node.target), True) and only
    modules = [model.get_submodule(name) for name, fit in fits.items() if fit]
    return [module for module in modules if type(module) is nn.BatchNorm2d]
