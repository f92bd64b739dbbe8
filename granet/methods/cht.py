"""Drop by magnitude, grow by the topology of what is left."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from granet.common.keys import Key
from granet.common.seeds import stable_seed
from granet.drops import Drop
from granet.inits.random import random
from granet.method import Method, Regenerate
from granet.methods.parameters import (
    LAYER_SPARSITIES,
    DropFraction,
    DropFractionFinal,
    InitDistribution,
    RegenerateShare,
    Sparsity,
    UpdateInterval,
    checked,
)
from granet.types import Snapshot, Tensors

Automaton = Literal["ch2", "ch3"]


def topology(mask_OI: Tensor, automaton: Automaton) -> Tensor:
    """How likely a link is by the paths of length 3 between its ends, node by node (CH2-L3n and CH3-L3n); (O, I).

    Of the bipartite graph A of active weights, as the released code reckons. An output o and an output k that share p
    inputs are 1 + p (CH2) or 1 (CH3) over max(1, d_k - p), d_k the links of k: the one to i, and those that lead out of
    the community. The score of (o, i) is the sum of that over the outputs k that i is linked to, and the same from the
    side of the inputs.

    >>> topology(torch.tensor([[True, True, False], [False, True, True]]), "ch3").tolist()
    [[0.0, 0.0, 2.0], [2.0, 0.0, 0.0]]
    >>> topology(torch.tensor([[True, True, False], [False, True, True]]), "ch2").tolist()
    [[0.0, 0.0, 4.0], [4.0, 0.0, 0.0]]
    """
    links = mask_OI.float()
    return (_from_side(links, automaton) + _from_side(links.T, automaton).T).masked_fill_(mask_OI, 0.0)


def _from_side(links_OI: Tensor, automaton: Automaton) -> Tensor:
    shared_OO = links_OI @ links_OI.T
    leading_out = (links_OI.sum(1) - shared_OO).clamp_(min=1)
    inside = (shared_OO > 0).float()
    if automaton == "ch2":
        inside += shared_OO
    return (inside / leading_out) @ links_OI


def drawn(chances: Tensor, *key: object) -> Tensor:
    """Scores whose k highest are k draws without replacement, in proportion to ``chances``, whatever k (Efraimidis)."""
    generator = torch.Generator("cpu").manual_seed(stable_seed(*key))
    waits = torch.empty(chances.shape, device="cpu").exponential_(generator=generator)
    return chances / waits.clamp_(min=1e-30).to(chances.device)


@dataclass(frozen=True)
class SoftMagnitude:
    """Weights that stay are drawn in proportion to |w|^T, T from 1 at the start of the run to 3 at ``until`` of it."""

    until: float

    def __call__(self, snapshot: Snapshot) -> Tensors:
        """The scores."""
        power = 1 + 2 * min(1.0, snapshot.progress / self.until)
        return {
            name: drawn(
                (weight.abs().float() / weight.abs().max().clamp(min=1e-30)) ** power,
                "stay",
                *_of(snapshot, name),
            )
            for name, weight in snapshot.weights.items()
        }


@dataclass(frozen=True)
class Topological:
    """Links are drawn in proportion to `topology`, in linear layers; in all others any is as likely as any other."""

    automaton: Automaton

    def __call__(self, snapshot: Snapshot) -> Tensors:
        """The scores. What the update has dropped counts as gone, for `mask_update` gives the masks that are left."""
        scores = {}
        for name, mask in snapshot.masks.items():
            chances = (
                topology(mask, self.automaton)
                if mask.dim() == 2
                else torch.ones(mask.shape, device=mask.device)
            )
            scores[name] = drawn(chances.clamp_(min=1e-12), "grow", *_of(snapshot, name))
        return scores


def _of(snapshot: Snapshot, name: str) -> tuple[int, int, str]:
    return snapshot.seed, snapshot.step, name


@checked
def cht(
    *,
    sf: Sparsity,
    automaton: Annotated[
        Automaton,
        Key("how links are predicted: ch2 (CH2-L3n) | ch3 (CH3-L3n)", choices=("ch2", "ch3")),
    ] = "ch2",
    update_interval: UpdateInterval = 100,
    drop_fraction: DropFraction = 0.3,
    drop_fraction_final: DropFractionFinal = 0.0,
    regenerate_until: RegenerateShare = 0.75,
    distribution: InitDistribution = "uniform",
) -> Method:
    """CHTs (Zhang et al. 2025): weights that stay are drawn by |w|, those that grow by paths of length 3 (CH2, CH3).

    No gradient decides. Settings of its code for translation, in which linear layers alone are sparse; convolutions
    grow at random here. Left out: first networks of small worlds or receptive fields, the removal of links whose
    neuron leads nowhere, heads of attention apart, and the sparsity that rises on a sigmoid (CHTss).
    """
    return Method(
        "sparse_to_sparse",
        random(LAYER_SPARSITIES[distribution], sf),
        update_interval,
        regenerate=Regenerate(
            Drop(SoftMagnitude(regenerate_until)),
            Topological(automaton),
            drop_fraction,
            drop_fraction_final,
            regenerate_until,
            sees_drop=True,
        ),
    )
