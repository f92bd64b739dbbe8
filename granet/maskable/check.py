"""Whether a model goes with masks."""

import re
import warnings

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils import parametrize

from granet.maskable.choice import EVERY_LAYER, Choice
from granet.maskable.layers import PLAIN
from granet.types import Tensors, UserError

STANDARDISED = re.compile("(Scaled)?Std(Conv2d|Conv2dSame)")
"""timm's layers that take the mean off each filter before they multiply by it, as BiT, NFNet and hybrid ViTs have."""
LARGE = 0.01
"""The share of all weights from which on it is said that they stay dense."""


def check_plain(model: nn.Module, weights: Tensors, what: str) -> None:
    """Raise UserError where a maskable weight is not a convolution's or a linear layer's, which ``what`` needs."""
    for name in weights:
        if not isinstance(owner := model.get_submodule(name.rpartition(".")[0]), PLAIN):
            kind = type(owner).__name__
            raise UserError(f"{name} is of a {kind}; {what} goes with convolutions and linear layers only")


def check_model(model: nn.Module, choice: Choice) -> None:
    """Raise UserError where a mask cannot hold: computed weights, no shape or values yet, shards, no layer at all.

    Warns once of the matrices that stay dense, where their share is large: the sparsity that is reported is that of the
    others.
    """
    weights = choice.of(model)
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
        if any(STANDARDISED.fullmatch(kind.__name__) for kind in type(owner).__mro__):
            raise UserError(
                f"{name} is standardised before it is multiplied by ({type(owner).__name__}), so its zeros would be "
                "none; exclude such layers"
            )
        if isinstance(weight, UninitializedParameter):
            raise UserError(f"{name} has no shape yet (a lazy layer); send one batch through the model first")
        if weight.is_meta:
            raise UserError(f"{name} has no values yet (device meta); load or initialise the model first")
        if any(kind.__name__ == "DTensor" for kind in type(weight).__mro__):
            raise UserError(
                f"{name} is a shard of a weight (fully_shard, tensor parallelism), and masks are made of whole ones; "
                "use DistributedDataParallel"
            )
        if not weight.is_floating_point():
            raise UserError(f"{name} is {weight.dtype}; masks go with real floating-point weights only")
    masked = choice.weights(model)
    if not masked:
        if choice != EVERY_LAYER:
            raise UserError(f"model: {choice} leaves no layer to mask; use METHODS['dense']()")
        frozen = f" that is not frozen (as {next(iter(weights))} is)" if weights else ""
        raise UserError(f"model: it has no layer to mask{frozen}; use METHODS['dense']()")
    if not choice.include:
        _warn_of_dense(model, masked, choice.left_out(model))


def _warn_of_dense(model: nn.Module, masked: Tensors, left_out: Tensors) -> None:
    """Name what stays dense though nobody has asked for it, the largest first."""
    known = {id(weight) for weight in (*masked.values(), *left_out.values())}
    norms = {
        id(p) for m in model.modules() if isinstance(m, (_NormBase, nn.LayerNorm)) for p in m.parameters()
    }
    dense = {
        f"{name} ({'' if p.requires_grad else 'frozen, '}{p.numel():,})": p.numel()
        for name, p in model.named_parameters()
        if p.dim() > 1 and id(p) not in known | norms
    }
    total = sum(dense.values()) + sum(weight.numel() for weight in masked.values())
    if sum(dense.values()) >= LARGE * total:
        largest = sorted(dense, key=lambda name: -dense[name])[:3]
        names = ", ".join(largest) + (f" and {len(dense) - 3} more" if len(dense) > 3 else "")
        warnings.warn(
            f"{sum(dense.values()) / total:.0%} of the weights stay dense, and the sparsity is that "
            f"of the others: {names}",
            stacklevel=5,
        )
