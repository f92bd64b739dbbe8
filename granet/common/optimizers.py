"""What masks need of an optimizer, and what they read of it."""

import torch
from torch import Tensor
from torch.optim import Optimizer

from granet.types import Tensors, UserError

# A zero gradient keeps a zero weight at zero only where the update of a weight looks at nothing but that weight.
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


def check_optimizer(optimizer: Optimizer, weights: Tensors) -> None:
    """Raise UserError unless the optimizer is element-wise and holds all of ``weights``: what masks need of it."""
    if type(optimizer) not in ELEMENT_WISE:  # a subclass may update otherwise, as LARS does
        names = ", ".join(cls.__name__ for cls in ELEMENT_WISE)
        raise UserError(
            f"optimizer={type(optimizer).__name__} is not known to be element-wise, so masked weights would not "
            f"stay zero; use one of {names}"
        )
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    missing = [name for name, weight in weights.items() if id(weight) not in held]
    if missing:
        raise UserError(
            f"optimizer: does not hold {missing[0]}; build it from model.parameters(), or freeze what it leaves out "
            "with requires_grad_(False)"
        )


def same_shaped(optimizer: Optimizer, tensors: Tensors) -> States:
    """What the optimizer holds for every tensor in the tensor's own shape."""
    return {
        name: [
            value
            for value in optimizer.state.get(tensor, {}).values()
            if isinstance(value, Tensor) and value.shape == tensor.shape
        ]
        for name, tensor in tensors.items()
    }


def running_means(optimizer: Optimizer, weights: Tensors) -> Tensors:
    """The momentum of every weight that has one, by name."""
    state = {name: optimizer.state.get(weight, {}) for name, weight in weights.items()}
    return {name: s[key] for name, s in state.items() for key in MOMENTUM if s.get(key) is not None}


def detached(tensors: Tensors) -> Tensors:
    """The same values, outside of autograd's graph."""
    return {name: tensor.detach() for name, tensor in tensors.items()}


def learning_rates(optimizer: Optimizer, weights: Tensors) -> dict[str, float]:
    """The learning rate of every weight: that of its parameter group."""
    by_tensor = {id(p): float(g["lr"]) for g in optimizer.param_groups for p in g["params"]}
    return {name: by_tensor[id(weight)] for name, weight in weights.items()}
