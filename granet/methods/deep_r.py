"""Drop where the sign flips, grow at random; a random walk on the active weights."""

from typing import Annotated

from granet import criteria
from granet.common.keys import Key
from granet.common.langevin import Langevin
from granet.drops import Drop, below_zero, initial_signs
from granet.inits.random import random
from granet.method import Method, Regenerate
from granet.methods.parameters import LAYER_SPARSITIES, InitDistribution, Sparsity, UpdateInterval, checked


@checked
def deep_r(
    *,
    sf: Sparsity,
    update_interval: UpdateInterval = 1,
    l1: Annotated[float, Key("pull of active weights towards zero, per unit of lr", at_least=0)] = 1e-5,
    noise: Annotated[
        float, Key("standard deviation of the random walk of active weights, per unit of lr", at_least=0)
    ] = 1e-5,
    distribution: InitDistribution = "uniform",
) -> Method:
    """Deep-R (Bellec et al. 2018): a connection whose sign flips is dropped, another grows at random."""
    return Method(
        "sparse_to_sparse",
        random(LAYER_SPARSITIES[distribution], sf),
        update_interval,
        regenerate=Regenerate(Drop(criteria.sign_flip, below_zero, initial_signs), grow=None),
        langevin=Langevin(l1, noise),
    )
