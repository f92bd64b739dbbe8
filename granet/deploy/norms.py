"""BatchNorm put into the convolutions before it: in eval mode it is but a factor and a summand for every channel."""

import copy
from typing import Any

from torch import nn
from torch.fx import Graph, Node
from torch.nn.utils.fusion import fuse_conv_bn_weights

from granet.sparsifier.coupling import NORMS, trace

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def fold_norms(model: nn.Module) -> nn.Module:
    """A copy of ``model`` for eval mode that has an Identity in the place of a BatchNorm that follows a convolution.

    Such a convolution, whose output goes nowhere else, takes it into weight and bias; masks stay as they are. Left
    alone is what normalises by each batch, and what is called more than once. Raises UserError where torch.fx cannot
    trace the model.

    >>> fold_norms(nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU()))
    Sequential(
      (0): Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1))
      (1): Identity()
      (2): ReLU()
    )
    """
    model = copy.deepcopy(model)
    fold_norms_(model, trace(model))
    return model


def fold_norms_(model: nn.Module, graph: Graph) -> None:
    """The same in place; ``graph`` is the model's, and goes on being so."""
    targets = [node.target for node in graph.nodes]
    for node in graph.nodes:
        following = only_follower(model, graph, node, NORMS)
        if following and type(called(model, node)) in CONVOLUTIONS and targets.count(following.target) == 1:
            convolution: Any = called(model, node)
            norm: Any = called(model, following)
            if norm.running_mean is not None:
                statistics = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
                fused = fuse_conv_bn_weights(convolution.weight, convolution.bias, *statistics)
                convolution.weight, convolution.bias = fused
                model.set_submodule(str(following.target), nn.Identity())


def only_follower(model: nn.Module, graph: Graph, node: Node, kinds: tuple[type, ...]) -> Node | None:
    """The one call that an output goes to, if it is of one of these modules and the output the only one of its own."""
    users, calls = list(node.users), [other for other in graph.nodes if other.target == node.target]
    if len(users) == len(calls) == 1 and type(called(model, users[0])) in kinds:
        return users[0]
    return None


def called(model: nn.Module, node: Node) -> nn.Module | None:
    """The module that a node calls, if it calls one."""
    return model.get_submodule(str(node.target)) if node.op == "call_module" else None
