"""A masked network for inference on CPUs, computing with its active weights alone."""

import copy
from typing import Any

import torch
import torch.fx
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.nn.utils.fusion import fuse_conv_bn_weights

from granet import kernels
from granet.deploy.shrink import check_masks
from granet.maskable import maskable_weights
from granet.types import Masks, UserError


class SparseInference(nn.Module):
    """A convolution by its active weights, with the BatchNorm and the ReLU behind it."""

    weight: Tensor
    bias: Tensor | None
    begin: Tensor
    place: Tensor
    source: Tensor

    def __init__(
        self, conv: nn.Conv2d, norm: nn.BatchNorm2d | None, mask_OIHW: Tensor, *, relu: bool
    ) -> None:
        super().__init__()
        from granet.kernels.ops import batch_innermost, precision
        from granet.kernels.pattern import pattern_of

        self._in_order, self._precision = batch_innermost, precision
        self.stride, self.padding, self.relu = conv.stride, conv.padding, relu
        weight, bias = conv.weight.detach(), conv.bias
        if norm is not None:
            assert norm.running_mean is not None
            assert norm.running_var is not None
            statistics = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
            weight, bias = fuse_conv_bn_weights(weight, bias, *statistics)
        weight = weight.detach().float().contiguous()
        self.shape = weight.shape
        self.register_buffer("weight", weight.flatten(1))  # no memory format changes its order
        self.register_buffer("bias", None if bias is None else bias.detach().float())
        places = pattern_of(mask_OIHW, weight, (conv.stride[0], conv.stride[1]), (0, 0)).forward
        for name, tensor in places._asdict().items():
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, O, OH, OW), fp32, bf16 under its autocast; batch innermost in memory."""
        lists = [self.begin, self.place, self.source]
        x = self._in_order(x_NCHW.to(self._precision()))
        return torch.ops.granet.sparse_forward(
            x, self.weight.view(self.shape), self.bias, lists, self.stride[0], list(self.padding), self.relu
        )


def compile_sparse(model: nn.Module, masks: Masks) -> GraphModule:
    """A copy of ``model`` for inference whose masked convolutions compute with their active weights alone.

    BatchNorm and ReLU that follow a convolution and nothing else go into it. Outputs are those of the masked network in
    eval mode up to rounding in fp32; under autocast to bf16 it computes in that. What the kernels do not know
    (`kernels.accelerate`) computes as before. To save it, save the network (`packed.save_packed`) and compile what
    comes back.

    Raises UserError for masks of another network, for a forward that torch.fx cannot trace, and where there are no
    kernels.
    """
    check_masks(maskable_weights(model), masks)
    if reason := kernels.why_not():
        raise UserError(f"compile_sparse: no sparse kernels on this machine: {reason}")
    try:
        compiled = torch.fx.symbolic_trace(copy.deepcopy(model).eval())
    except Exception as error:  # a forward may do anything
        raise UserError(f"compile_sparse: torch.fx cannot trace this model's forward: {error}") from error
    for node in list(compiled.graph.nodes):
        name = f"{node.target}.weight"
        if name in masks and kernels.stays_dense(_module(compiled, node)) is None:
            _replace(compiled, node, masks[name])
    compiled.graph.lint()
    compiled.recompile()
    kernels.follow_memory_order(compiled)
    return compiled


def _replace(compiled: GraphModule, node: Node, mask: Tensor) -> None:
    """Put the kernel in the place of a convolution, and of what it takes along."""
    conv: Any = _module(compiled, node)
    norm = _next(compiled, node, nn.BatchNorm2d)
    if norm is not None and _module(compiled, norm).running_mean is None:
        norm = None  # it normalises by each batch
    relu = _next(compiled, norm or node, nn.ReLU)
    folded: Any = None if norm is None else _module(compiled, norm)
    compiled.set_submodule(str(node.target), SparseInference(conv, folded, mask, relu=relu is not None))
    for taken in filter(None, (relu, norm)):
        taken.replace_all_uses_with(node)
        compiled.graph.erase_node(taken)


def _next(compiled: GraphModule, node: Node, kind: type[nn.Module]) -> Node | None:
    """The one module that an output goes to, if it is of a ``kind``."""
    users = list(node.users)
    calls = [other for other in compiled.graph.nodes if other.target == node.target]
    if len(users) == len(calls) == 1 and type(_module(compiled, users[0])) is kind:
        return users[0]
    return None


def _module(compiled: GraphModule, node: Node) -> Any:
    """What a node calls, if it calls a module."""
    return compiled.get_submodule(str(node.target)) if node.op == "call_module" else None
