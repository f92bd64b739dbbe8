"""GraNet that removes whole channels on its way."""

from typing import Annotated

from granet.common.keys import Key
from granet.criteria import gradient, magnitude
from granet.distributions import erk
from granet.drops import Drop
from granet.inits.random import everything, random
from granet.method import ChannelPrune, Method, Regenerate
from granet.methods.gradual import gradual
from granet.methods.parameters import (
    DropFraction,
    DropFractionFinal,
    InitialSparsity,
    PruneEnd,
    PruneStart,
    Regrown,
    Sparsity,
    UpdateInterval,
    checked,
)


@checked
def chase(
    *,
    sf: Sparsity,
    si: InitialSparsity = 0.5,
    t0: PruneStart = 0,
    tf: PruneEnd = None,
    update_interval: UpdateInterval = 1000,
    drop_fraction: DropFraction = 0.5,
    drop_fraction_final: DropFractionFinal = 0.005,
    channel_sparsity: Annotated[
        float, Key("share of all channels that are removed in the end, in [0, 1)", at_least=0, below=1)
    ] = 0.5,
    channels_until: Annotated[
        float, Key("share of the run after which no channel is removed, in (0, 1]", above=0, at_most=1)
    ] = 0.8125,
    channel_floor: Annotated[
        float,
        Key(
            "share of a layer's 1 - channel_sparsity that it keeps at least, in [0, 1]",
            at_least=0,
            at_most=1,
        ),
    ] = 0.2,
    regrown: Regrown = "zero",
) -> Method:
    """Chase (Yin et al. 2023): channels of the lowest mean |w| go for good, on a cubic; the rest goes as GraNet's.

    Where single weights do not suffice after that, weights grow by gradient wherever there is room. Left out: the soft
    memory bound, regeneration across layers, and channels that go between two mask updates. si = sf is the paper's.
    """
    return Method(
        "sparse_to_sparse" if si > 0 else "dense_to_sparse",
        random(erk, si) if si > 0 else everything,
        update_interval,
        prune=gradual(sf, t0, tf, "global", si=si),
        regenerate=Regenerate(Drop(magnitude), gradient, drop_fraction, drop_fraction_final),
        channels=ChannelPrune(channel_sparsity, channels_until, channel_floor),
        regrown=regrown,
    )
