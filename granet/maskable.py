"""Which weights of a model can be masked, and whether a model goes with masks."""

import re
import warnings
from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils import parametrize

from granet.types import Tensors, UserError

PLAIN = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
"""Layers whose weight is (out, in, ...): what is made thinner, shrunk and solved for goes by its two axes."""
MASKABLE: dict[type[nn.Module] | tuple[type[nn.Module], ...], str] = {
    (*PLAIN, nn.Bilinear, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d): "weight",
    nn.MultiheadAttention: "(in|q|k|v)_proj_weight",
    (nn.RNNBase, nn.RNNCellBase): r"weight_(ih|hh|hr)(_l\d+)?(_reverse)?",
}
"""Layers that multiply by a matrix, and the names of their matrices."""


def maskable_weights(model: nn.Module) -> Tensors:
    """The matrices of every layer that multiplies by one, first and last layer included; no biases, no BatchNorm.

    Convolutions (transposed ones too), linear and bilinear layers, attention's projections, recurrent layers. A weight
    that two layers share counts once, under its first name; a frozen one (requires_grad=False) is none.
    """
    weights: Tensors = {}
    known: set[int] = set()
    for name, weight in _matrices(model):
        if weight.requires_grad and id(weight) not in known:
            known.add(id(weight))
            weights[name] = weight
    return weights


def _matrices(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every matrix of a layer of `MASKABLE`; one that is computed comes out of its parametrization."""
    for name, module in model.named_modules():
        names = next((names for kinds, names in MASKABLE.items() if isinstance(module, kinds)), None)
        for attribute in dict.fromkeys([*module._parameters, "weight"]) if names else ():
            weight = getattr(module, attribute, None)
            if re.fullmatch(names or "", attribute) and isinstance(weight, Tensor):
                yield f"{name}.{attribute}" if name else attribute, weight


def check_plain(model: nn.Module, weights: Tensors, what: str) -> None:
    """Raise UserError where a maskable weight is not a convolution's or a linear layer's, which ``what`` needs."""
    for name in weights:
        if not isinstance(owner := model.get_submodule(name.rpartition(".")[0]), PLAIN):
            kind = type(owner).__name__
            raise UserError(f"{name} is of a {kind}; {what} goes with convolutions and linear layers only")


def check_model(model: nn.Module) -> None:
    """Raise UserError where a mask cannot hold: computed weights, no shape or values yet, no layer at all.

    Warns once of the matrices that stay dense, with their share: the sparsity that is reported is that of the others.
    """
    weights = dict(_matrices(model))
    for name, weight in weights.items():
        module, _, attribute = name.rpartition(".")
        owner = model.get_submodule(module)
        if not any(p.requires_grad for p in owner.parameters()):
            continue
        if attribute not in owner._parameters or parametrize.is_parametrized(owner):
            raise UserError(
                f"{name} is computed from other tensors (weight_norm, spectral_norm, a pruning or another "
                "parametrization), so a mask on it would not last; remove that from the layer first"
            )
        if isinstance(weight, UninitializedParameter):
            raise UserError(f"{name} has no shape yet (a lazy layer); send one batch through the model first")
        if weight.is_meta:
            raise UserError(f"{name} has no values yet (device meta); load or initialise the model first")
        if not weight.is_floating_point():
            raise UserError(f"{name} is {weight.dtype}; masks go with real floating-point weights only")
    masked = maskable_weights(model)
    if not masked:
        frozen = f" that is not frozen (as {next(iter(weights))} is)" if weights else ""
        raise UserError(f"model: it has no layer to mask{frozen}; use METHODS['dense']()")
    _warn_of_dense(model, masked)


def _warn_of_dense(model: nn.Module, masked: Tensors) -> None:
    known = {id(weight) for weight in masked.values()}
    norms = {
        id(p) for m in model.modules() if isinstance(m, (_NormBase, nn.LayerNorm)) for p in m.parameters()
    }
    dense = {
        f"{name} ({'' if p.requires_grad else 'frozen, '}{p.numel():,})": p.numel()
        for name, p in model.named_parameters()
        if p.dim() > 1 and id(p) not in known | norms
    }
    if dense:
        total = sum(dense.values()) + sum(weight.numel() for weight in masked.values())
        names = ", ".join(list(dense)[:3]) + (f" and {len(dense) - 3} more" if len(dense) > 3 else "")
        warnings.warn(
            f"{sum(dense.values()) / total:.0%} of the weights stay dense, and the sparsity is that "
            f"of the others: {names}",
            stacklevel=4,
        )
