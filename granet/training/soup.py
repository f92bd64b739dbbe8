"""Soups: the mean of networks that were trained under one mask."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from granet.types import Masks, Tensors, UserError


def soup(states: Sequence[Mapping[str, Tensor]], masks: Masks) -> Tensors:
    """The uniform sparse model soup (Zimmer et al. 2024): the mean of every weight and buffer, as a state_dict.

    ``states`` are state_dicts of retrainings of one pruned network, of other seeds or hyperparameters, and ``masks``
    the masks of all of them: so their mean is as sparse as each. Numbers of batches are the first one's. The running
    statistics of BatchNorm are of none of these networks; `recalibrate` takes them anew. Left out: greedy soups, which
    choose their members on held-out images. Raises UserError where the networks do not share these masks.

    >>> first, second = {"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([2.0, 0.0])}
    >>> soup([first, second], {"w": torch.tensor([True, False])})
    {'w': tensor([1.5000, 0.0000])}
    """
    if not states:
        raise UserError("states=[]: a soup is the mean of one network at least; give some")
    for number, state in enumerate(states):
        shapes = [{name: value.shape for name, value in each.items()} for each in (state, states[0])]
        if shapes[0] != shapes[1]:
            odd = sorted({name for name, _ in shapes[0].items() ^ shapes[1].items()})
            raise UserError(f"states[{number}] is of another network than states[0]: {odd[0]} differs")
        for name, mask in masks.items():
            if name not in state or state[name].shape != mask.shape:
                raise UserError(f"masks: there is one for {name}, which is no weight of states[{number}]")
            if (state[name][~mask.to(state[name].device)] != 0).any():
                raise UserError(
                    f"states[{number}] has weights off the mask of {name}; all must be trained under one mask"
                )
    return {name: _mean([state[name] for state in states]) for name in states[0]}


def _mean(values: Sequence[Tensor]) -> Tensor:
    """The mean of floating-point tensors, rounded once; of others the first."""
    first = values[0].detach()
    if not first.is_floating_point():
        return first.clone()
    wide = torch.float32 if first.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
    return torch.stack([value.detach().to(first.device, wide) for value in values]).mean(0).to(first.dtype)
