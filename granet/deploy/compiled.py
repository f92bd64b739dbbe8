"""A masked network for inference on CPUs, computing with its active weights alone."""

import copy
from typing import Any

import torch
import torch.fx
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from granet import kernels
from granet.deploy.norms import called, fold_norms_, only_follower
from granet.deploy.shrink import check_masks
from granet.types import Masks, UserError


class SparseInference(nn.Module):
    """A convolution by its active weights, with the ReLU behind it."""

    values: Tensor
    bias: Tensor | None
    begin: Tensor
    place: Tensor
    source: Tensor

    def __init__(self, conv: nn.Conv2d, mask_OIHW: Tensor, *, relu: bool) -> None:
        super().__init__()
        from granet.kernels.activations import batch_innermost, precision
        from granet.kernels.pattern import pattern_of
        from granet.kernels.planned import Planned

        self._planned = Planned()
        self._in_order, self._precision = batch_innermost, precision
        self.stride, self.padding, self.relu = conv.stride, conv.padding, relu
        weight, bias = conv.weight.detach().float().contiguous(), conv.bias
        self.shape = weight.shape
        self.register_buffer("bias", None if bias is None else bias.detach().float())
        lists = pattern_of(mask_OIHW, weight, (conv.stride[0], conv.stride[1]), (0, 0)).forward
        # alone, side by side: the dense weight is left where it was, and no cache is filled with its zeros
        self.register_buffer("values", torch.cat([weight.flatten()[lists.source.long()], torch.zeros(1)]))
        source = torch.arange(len(lists.source), dtype=torch.int32)
        for name, tensor in lists._replace(source=source)._asdict().items():
            self.register_buffer(name, tensor)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, O, OH, OW), or of one image; fp32, bf16 under its autocast; batch innermost in memory."""
        if x_NCHW.dim() == 3:
            return self(x_NCHW[None])[0]
        if self.values.dtype != torch.float32 or self.values.device.type != "cpu":
            raise UserError(
                f"compile_sparse: the network is {self.values.dtype} on {self.values.device}, and the kernels want "
                "float32 on the CPU; leave it so, and use torch.autocast for bf16"
            )
        lists = [self.begin, self.place, self.source]
        x = self._in_order(x_NCHW.to(self._precision()))
        weight = self.values.as_strided(self.shape, (0, 0, 0, 0))  # says the shape; the lists know the places
        # a plan is no tensor: torch's compiler gets the operator
        is_plain = type(x) is Tensor and not torch.compiler.is_compiling()
        forward: Any = self._planned.forward if is_plain else torch.ops.granet.sparse_forward
        return forward(x, weight, self.bias, lists, self.stride[0], list(self.padding), self.relu)


def compile_sparse(model: nn.Module, masks: Masks) -> GraphModule:
    """A copy of ``model`` for inference whose masked convolutions compute with their active weights alone.

    BatchNorm and ReLU that follow a convolution and nothing else go into it. Outputs are those of the masked network in
    eval mode up to rounding in fp32; under autocast to bf16 it computes in that. What the kernels do not know
    (`kernels.accelerate`) computes as before. To save it, save the network (`packed.save_packed`) and compile what
    comes back.

    Raises UserError for masks of another network, for a forward that torch.fx cannot trace, and where there are no
    kernels.
    """
    check_masks(dict(model.named_parameters()), masks)
    if reason := kernels.why_not():
        raise UserError(f"compile_sparse: no sparse kernels on this machine: {reason}")
    if odd := [name for name in masks if model.get_parameter(name).dtype != torch.float32]:
        kind = model.get_parameter(odd[0]).dtype
        raise UserError(
            f"compile_sparse: {odd[0]} is {kind}, and the kernels want float32; leave the network so, and use "
            "torch.autocast for bf16"
        )
    copied = copy.deepcopy(model).eval()
    kernels.plain_(copied)
    try:
        compiled = torch.fx.symbolic_trace(copied)
    except Exception as error:  # a forward may do anything
        raise UserError(f"compile_sparse: torch.fx cannot trace this model's forward: {error}") from error
    fold_norms_(compiled, compiled.graph)
    for node in list(compiled.graph.nodes):
        name = f"{node.target}.weight"
        if name in masks and kernels.stays_dense(compiled.get_submodule(str(node.target))) is None:
            _replace(compiled, node, masks[name])
    compiled.graph.lint()
    compiled.recompile()
    kernels.follow_memory_order(compiled)
    return compiled


def _replace(compiled: GraphModule, node: Node, mask: Tensor) -> None:
    """Put the kernel in the place of a convolution, of what is left of its BatchNorm, and of its ReLU."""
    conv: Any = called(compiled, node)
    norm = only_follower(compiled, compiled.graph, node, (nn.Identity,))
    relu = only_follower(compiled, compiled.graph, norm or node, (nn.ReLU,))
    compiled.set_submodule(
        str(node.target), SparseInference(conv, mask.to(conv.weight.device), relu=relu is not None)
    )
    for taken in filter(None, (relu, norm)):
        taken.replace_all_uses_with(node)
        compiled.graph.erase_node(taken)
