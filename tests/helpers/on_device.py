"""Every method of the table in tests/granet/test_methods.py, trained on a device."""

import copy
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from granet import Sparsifier
from granet.common.optimizers import same_shaped
from tests.granet import test_methods as methods


def train_on(
    device: torch.device,
    name: str,
    before: Callable[[], object] = lambda: None,
    after: Callable[[Sparsifier], object] = lambda sparsifier: None,
) -> tuple[nn.Module, Sparsifier]:
    """The table's loop. ``before`` and ``after`` are called around each of its steps, whose batch is there already.

    Every tensor that it leaves is on the device.
    """

    def batch(number: int) -> tuple[Tensor, Tensor]:
        images, labels = methods.batch(number)
        return images.to(device), labels.to(device)

    torch.manual_seed(0)
    model = methods.Net().to(device)
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    sparsifier = Sparsifier(
        model,
        optimizer,
        methods.make_method(name),
        seed=0,
        total_steps=methods.STEPS,
        batches=lambda: map(batch, range(20)),
        rewind_to=copy.deepcopy(model.state_dict()),
    )
    for number in range(methods.STEPS):
        images, labels = batch(number)
        before()
        nn.functional.cross_entropy(model(images), labels).backward()
        sparsifier.after_backward()
        optimizer.step()
        sparsifier.after_step()
        after(sparsifier)
        optimizer.zero_grad(set_to_none=True)
    states = same_shaped(optimizer, dict(model.named_parameters()))
    held = [
        *model.state_dict().values(),
        *sparsifier.masks.values(),
        *(s for some in states.values() for s in some),
    ]
    assert all_on(device, held)
    return model, sparsifier


def all_on(device: torch.device, tensors: Iterable[Tensor]) -> bool:
    return {tensor.device for tensor in tensors} == {device}
