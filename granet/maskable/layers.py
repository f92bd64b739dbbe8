"""Layers that multiply by a matrix, and which of their parameters it is."""

import re
from collections.abc import Iterator

from torch import Tensor, nn

from granet.types import Tensors

PLAIN = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
"""Layers whose weight is (out, in, ...): what is made thinner, shrunk and solved for goes by its two axes."""
MASKABLE: dict[type[nn.Module] | tuple[type[nn.Module], ...], str] = {
    (*PLAIN, nn.Bilinear, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d): "weight",
    nn.MultiheadAttention: "(in|q|k|v)_proj_weight",
    (nn.RNNBase, nn.RNNCellBase): r"weight_(ih|hh|hr)(_l\d+)?(_reverse)?",
}
"""Layers that multiply by a matrix, and the names of their matrices."""


def matrices(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every matrix of a layer of `MASKABLE`; one that is computed comes out of its parametrization."""
    for name, module in model.named_modules():
        names = next((names for kinds, names in MASKABLE.items() if isinstance(module, kinds)), None)
        computed = getattr(module, "parametrizations", ())
        for attribute in dict.fromkeys([*module._parameters, *computed, "weight"]) if names else ():
            weight = getattr(module, attribute, None)
            if re.fullmatch(names or "", attribute) and isinstance(weight, Tensor):
                yield f"{name}.{attribute}" if name else attribute, weight


STACKED: dict[type[nn.Module] | tuple[type[nn.Module], ...], int] = {
    nn.MultiheadAttention: 3,
    (nn.LSTM, nn.LSTMCell): 4,
    (nn.GRU, nn.GRUCell): 3,
}
"""Layers whose matrices are several in one: query, key and value, or a matrix for each gate."""


def stacks(model: nn.Module, weights: Tensors) -> dict[str, int]:
    """Of weights that are several matrices, one upon the other along axis 0: how many (for ERK, which sees shapes)."""
    found = {}
    for name in weights:
        module, _, attribute = name.rpartition(".")
        owner = model.get_submodule(module)
        number = next((n for kinds, n in STACKED.items() if isinstance(owner, kinds)), 1)
        if number > 1 and re.fullmatch(r"in_proj_weight|weight_(ih|hh).*", attribute):
            found[name] = number
    return found
