"""BatchNorm's running statistics, taken anew: a pruned or averaged network is none that they were taken of."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from granet.common.devices import moved
from granet.types import Batches, UserError


@torch.no_grad()
def recalibrate(
    model: nn.Module,
    batches: Batches,
    num_batches: int | None = None,
    *,
    forward: Callable[[nn.Module, Tensor], object] = lambda model, inputs: model(inputs),
) -> None:
    """Set every BatchNorm's running statistics to their plain mean over the first ``num_batches`` of ``batches``.

    ``batches``: inputs and labels, of the training set, as an iterable or a function that returns one; None: all of
    them. Everything else of the model is as in evaluation, and stays as it was. A network without running statistics
    is left alone. Raises UserError where there is no batch.

    >>> norm = nn.BatchNorm1d(1)
    >>> recalibrate(norm, [(torch.tensor([[0.0], [4.0]]), None), (torch.tensor([[8.0], [8.0]]), None)])
    >>> norm.running_mean, norm.running_var
    (tensor([5.]), tensor([4.]))
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    if not norms:
        return
    seen, device = 0, next(norm.running_mean.device for norm in norms if norm.running_mean is not None)
    with _measuring(model, norms):
        for inputs, _ in islice(batches() if callable(batches) else batches, num_batches):
            forward(model, moved(inputs, device))
            seen += 1
        if not seen:
            raise UserError(
                "batches: BatchNorm's statistics need one batch at least; give an iterable that has some"
            )


@contextmanager
def _measuring(model: nn.Module, norms: list[_BatchNorm]) -> Iterator[None]:
    """Only ``norms`` train, from no statistics, each batch with the same weight; a failure leaves the old ones."""
    before = [{name: value.clone() for name, value in norm.named_buffers()} for norm in norms]
    modes = {module: module.training for module in model.modules()}
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
        norm.momentum = None
    try:
        yield
    except BaseException:
        for norm, values in zip(norms, before, strict=True):
            for name, value in norm.named_buffers():
                value.copy_(values[name])
        raise
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, mode in modes.items():
            module.training = mode
