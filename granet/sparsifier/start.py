"""What a Sparsifier starts from: which weights it masks, and the masks of step 0."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch.optim import Optimizer

from granet import masks as masks_
from granet.common.optimizers import check_optimizer
from granet.maskable import Choice, check_model, stacks
from granet.method import Method
from granet.methods.layer_sparsity import check_layer_sparsity, with_layer_sparsity
from granet.types import InitContext, Masks, Tensors


def start(
    method: Method,
    optimizer: Optimizer,
    context: InitContext,
    choice: Choice,
    layer_sparsity: Mapping[str, float] | None,
) -> tuple[Method, Tensors, Masks]:
    """The method with the layers' own sparsities, the weights by name, and their masks, on the weights' devices.

    ``context`` has no weights yet. Raises UserError as the checks of model, optimizer and masks do.
    """
    if method.init is None:
        return method, {}, {}
    check_model(context.model, choice)
    weights = choice.weights(context.model)
    check_optimizer(optimizer, weights)
    check_layer_sparsity(method, layer_sparsity or {}, masks_.shapes(weights))
    method = with_layer_sparsity(method, layer_sparsity or {})
    assert method.init is not None
    initial = method.init(replace(context, weights=weights, stacks=stacks(context.model, weights)))
    masks_.check(initial, weights)
    return (
        method,
        weights,
        {
            name: torch.empty_like(weight, dtype=torch.bool).copy_(initial[name])
            for name, weight in weights.items()
        },
    )
