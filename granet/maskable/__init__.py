"""Which weights of a model can be masked, which of them are, and whether a model goes with masks."""

from torch import nn

from granet.maskable.check import check_model, check_plain
from granet.maskable.choice import EVERY_LAYER, Choice, Selectors
from granet.maskable.layers import PLAIN, stacks
from granet.types import Tensors

__all__ = [
    "EVERY_LAYER",
    "PLAIN",
    "Choice",
    "Selectors",
    "check_model",
    "check_plain",
    "maskable_weights",
    "stacks",
]


def maskable_weights(model: nn.Module) -> Tensors:
    """The matrices of every layer that multiplies by one, first and last layer included; no biases, no BatchNorm.

    Convolutions (transposed ones too), linear and bilinear layers, attention's projections, recurrent layers. A weight
    that two layers share counts once, under its first name; a frozen one (requires_grad=False) is none.
    """
    return EVERY_LAYER.weights(model)
