"""How the convolutions of a network start: one global threshold over all layers cuts them by it."""

from collections.abc import Callable
from functools import partial

from torch import nn

from granet.types import UserError

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def _kaiming(convolution: nn.Module, mode: str) -> None:
    nn.init.kaiming_normal_(convolution.weight, mode=mode, nonlinearity="relu")  # type: ignore[arg-type]


INITS: dict[str, Callable] = {
    "fan_in": partial(_kaiming, mode="fan_in"),
    "fan_out": partial(_kaiming, mode="fan_out"),
    "torch": lambda convolution: convolution.reset_parameters(),
}
"""Name -> what draws a convolution's weights anew, in place.

fan_in, fan_out: N(0, 2 / fan) (kaiming-normal, He et al. 2015); torch: uniform, of variance 1 / (3 fan-in).
"""


def initialise(model: nn.Module, init: str) -> nn.Module:
    """Draw the weights of all convolutions anew, from torch's global generator, and return the model.

    The classifier stays as its model draws it. Raises UserError for a name that `INITS` has not.
    """
    if init not in INITS:
        raise UserError(f"init={init!r} is unknown; choose one of {', '.join(INITS)}")
    for module in model.modules():
        if isinstance(module, CONVOLUTIONS):
            INITS[init](module)
    return model
