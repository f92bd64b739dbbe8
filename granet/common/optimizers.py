"""What masks need of an optimizer, and what they read of it."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from granet.types import Tensors, UserError

# A zero gradient keeps a zero weight at zero only where the update of a weight looks at nothing but that weight.
# After the steps of all others, weights and same-shaped state are projected.
ELEMENT_WISE = (
    torch.optim.SGD,
    torch.optim.Adam,
    torch.optim.AdamW,
    torch.optim.NAdam,
    torch.optim.RAdam,
    torch.optim.Adamax,
    torch.optim.RMSprop,
    torch.optim.Adagrad,
    torch.optim.Adadelta,
)

MOMENTUM = ("momentum_buffer", "exp_avg")
"""What optimizers call their running mean of the gradient."""

States = dict[str, list[Tensor]]
"""What an optimizer holds for every tensor in the tensor's own shape: momentum, second moments."""

WRAPPERS = {"AcceleratedOptimizer", "LightningOptimizer", "_FabricOptimizer"}
"""Classes of accelerate and Lightning that pass everything on to an optimizer of theirs."""


def unwrapped(optimizer: Any) -> Optimizer:
    """The optimizer itself, out of the wrappers of accelerate and Lightning."""
    while not WRAPPERS.isdisjoint(kind.__name__ for kind in type(optimizer).__mro__):
        optimizer = optimizer.optimizer
    return optimizer


def is_element_wise(optimizer: Optimizer) -> bool:
    """Whether a masked weight stays at zero by itself once its gradient is; a subclass may update as it likes."""
    return type(optimizer) in ELEMENT_WISE


def parts(optimizer: Optimizer) -> list[Optimizer]:
    """The optimizer and those that it builds upon, as those of SAM and Lookahead do."""
    found = [optimizer]
    for part in found:  # which grows meanwhile
        found += [v for v in vars(part).values() if isinstance(v, Optimizer) and v not in found]
    return found


def check_optimizer(optimizer: Optimizer, weights: Tensors) -> None:
    """Raise UserError unless the optimizer holds all of ``weights``."""
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    missing = [name for name, weight in weights.items() if id(weight) not in held]
    if missing:
        raise UserError(
            f"optimizer: does not hold {missing[0]}; build it from model.parameters(), or freeze what it leaves out "
            "with requires_grad_(False), or exclude it: Sparsifier(..., exclude=)"
        )


def _states(optimizer: Optimizer, tensor: Tensor) -> dict[int, tuple[str, Any]]:
    """What the optimizer and those within it hold for a tensor, each with its key; what two of them share, once."""
    held = (pair for part in parts(optimizer) for pair in part.state.get(tensor, {}).items())
    return {id(value): (key, value) for key, value in held}


def same_shaped(optimizer: Optimizer, tensors: Tensors) -> States:
    """What the optimizer holds for every tensor in the tensor's own shape, but for what it has quantized.

    Nothing where it preconditions: then a matrix of a weight's shape may be of other coordinates (Shampoo, SOAP).
    """
    if not is_element_wise(optimizer) and _preconditions(optimizer):
        return {name: [] for name in tensors}
    return {
        name: [
            value
            for _, value in _states(optimizer, tensor).values()
            if type(value) in (Tensor, nn.Parameter, type(tensor))
            and value.shape == tensor.shape
            and value.is_floating_point()
        ]
        for name, tensor in tensors.items()
    }


def _preconditions(optimizer: Optimizer) -> bool:
    """Whether it holds for a tensor a matrix that is square and the tensor is not, or a list of tensors."""
    return any(
        any(isinstance(entry, Tensor) for entry in value)
        if isinstance(value, list | tuple)
        else isinstance(value, Tensor)
        and value.dim() == 2
        and value.shape[0] == value.shape[1] > 1
        and value.shape != tensor.shape
        for part in parts(optimizer)
        for tensor, state in part.state.items()
        if isinstance(state, dict)
        for value in state.values()
    )


def running_means(optimizer: Optimizer, weights: Tensors) -> Tensors:
    """The momentum of every weight that has one, by name."""
    return {
        name: value
        for name, weight in weights.items()
        for key, value in _states(optimizer, weight).values()
        if key in MOMENTUM and value is not None
    }


def gradients_of(optimizer: Optimizer) -> list[Tensor]:
    """Of all parameters that have one, but for sparse ones (an Embedding's)."""
    found = [p.grad for group in optimizer.param_groups for p in group["params"]]
    return [gradient for gradient in found if gradient is not None and gradient.layout == torch.strided]


def detached(tensors: Tensors) -> Tensors:
    """The same values, outside of autograd's graph."""
    return {name: tensor.detach() for name, tensor in tensors.items()}


def learning_rates(optimizer: Optimizer, weights: Tensors) -> dict[str, float]:
    """The learning rate of every weight: that of its parameter group."""
    return _of_groups(optimizer, weights, "lr")


def weight_decays(optimizer: Optimizer, weights: Tensors) -> dict[str, float]:
    """The weight decay of every weight; 0 where the optimizer knows none."""
    return _of_groups(optimizer, weights, "weight_decay")


def _of_groups(optimizer: Optimizer, weights: Tensors, key: str) -> dict[str, float]:
    by_tensor = {id(p): float(g.get(key, 0.0)) for g in optimizer.param_groups for p in g["params"]}
    return {name: by_tensor[id(weight)] for name, weight in weights.items()}
