"""Which weights of a model can be masked, and whether an optimizer goes with it."""

import torch
from torch import nn
from torch.optim import Optimizer

from granet.types import Tensors, UserError

MASKABLE = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)

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


def maskable_weights(model: nn.Module) -> Tensors:
    """Every convolution's and linear layer's weight, first and last included; no biases, no BatchNorm.

    A weight that two layers share counts once, under its first name.
    """
    weights: Tensors = {}
    for name, module in model.named_modules():
        if isinstance(module, MASKABLE) and all(module.weight is not known for known in weights.values()):
            weights[f"{name}.weight" if name else "weight"] = module.weight
    return weights


def check_optimizer(optimizer: Optimizer, model: nn.Module) -> None:
    """Raise UserError unless the optimizer is element-wise and holds every maskable weight: what masks need of it."""
    if type(optimizer) not in ELEMENT_WISE:  # a subclass may update otherwise, as LARS does
        names = ", ".join(cls.__name__ for cls in ELEMENT_WISE)
        raise UserError(
            f"optimizer={type(optimizer).__name__} is not known to be element-wise, so masked weights would not "
            f"stay zero; use one of {names}"
        )
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    missing = [name for name, weight in maskable_weights(model).items() if id(weight) not in held]
    if missing:
        raise UserError(f"optimizer: does not hold {missing[0]}; build it from model.parameters()")
