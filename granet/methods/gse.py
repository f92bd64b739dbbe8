"""Drop by magnitude, grow by the gradient of a random subset."""

from dataclasses import dataclass
from typing import Annotated

import torch

from granet import criteria
from granet.common.keys import Key
from granet.common.selection import highest
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


@dataclass(frozen=True)
class SubsetGradient:
    """|g| of some inactive weights, ``share`` times as many as are active, drawn anew at every update.

    All others have negative scores at random, and those that were active, which the update may just have dropped, lower
    ones still.
    """

    share: float

    @property
    def reads(self) -> float:
        """Gradients of how many inactive weights, for each active one."""
        return self.share

    def __call__(self, snapshot: Snapshot) -> Tensors:
        """The scores; a function of (seed, step, layer name) beside the gradient."""
        noise, scores = criteria.random(snapshot), {}
        for name, mask in snapshot.masks.items():
            drawn = highest(noise[name], ~mask, round(self.share * int(mask.count_nonzero())))
            others = noise[name].sub(1).sub(mask.float()).sub(1e-6)
            scores[name] = torch.where(
                drawn, snapshot.gradients[name].abs(), others.to(snapshot.gradients[name])
            )
        return scores


@checked
def gse(
    *,
    sf: Sparsity,
    subset: Annotated[
        float, Key("inactive weights that may grow, drawn at random, for each active one", above=0)
    ] = 1.0,
    update_interval: UpdateInterval = 1000,
    drop_fraction: DropFraction = 0.2,
    drop_fraction_final: DropFractionFinal = 0.0,
    regenerate_until: RegenerateShare = 0.6,
    distribution: InitDistribution = "er",
) -> Method:
    """GSE (Heddes et al. 2024): RigL that looks at the gradients of a random subset of the inactive weights alone.

    The subset is uniform (Algorithm 2): ``subset`` is its constant factor gamma, so no step costs what a dense gradient
    does. Its draws come with replacement from all places, and what is active falls out; here all of them are inactive
    ones, each at most once. Its Erdos-Renyi counts a filter's inputs with the kernel, "er" here without. Left out:
    drawing by the activity of neurons (GraBo, GraEst), and one threshold for all layers, its code's default.
    """
    return Method(
        "sparse_to_sparse",
        random(LAYER_SPARSITIES[distribution], sf),
        update_interval,
        regenerate=Regenerate(
            Drop(criteria.magnitude),
            SubsetGradient(subset),
            drop_fraction,
            drop_fraction_final,
            regenerate_until,
        ),
    )
