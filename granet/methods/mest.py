"""Drop by magnitude and gradient, grow at random, with or without more weights than there will be."""

from typing import Annotated

from granet.common.keys import Key
from granet.criteria import MagnitudeAndGradient
from granet.distributions import by_layer
from granet.drops import Drop, by_fraction, down_to
from granet.inits.random import random
from granet.method import Method, Prune, Regenerate
from granet.methods.dense_layers import DENSE_LAYERS, count_sparing, rule_sparing
from granet.methods.parameters import (
    INTERVAL,
    LAYER_SPARSITIES,
    DenseLayersName,
    DropFraction,
    InitDistribution,
    RegenerateShare,
    Sparsity,
    Updates,
    checked,
)
from granet.schedules import stairs


@checked
def mest(
    *,
    sf: Sparsity,
    update_interval: Annotated[
        int,
        INTERVAL,
        Updates(32),
        Key("between mask updates; auto: 32 in a run, as 5 of 160 epochs", at_least=1),
    ] = 1760,
    drop_fraction: DropFraction = 0.2,
    soft_bound: Annotated[
        float,
        Key(
            "weights beyond 1 - sf that train until they are dropped, a share of all; 0: EM",
            at_least=0,
            below=1,
        ),
    ] = 0.0,
    gradient_weight: Annotated[float, Key("lambda, the weight of |g| in what is dropped", at_least=0)] = 1.0,
    regenerate_until: RegenerateShare = 0.75,
    distribution: InitDistribution = "uniform",
    dense_layers: DenseLayersName = "first",
) -> Method:
    """MEST (Yuan et al. 2021): drop by |w| + lambda |g|, grow at random, half as much in the last quarter of updates.

    EM drops and grows ``drop_fraction``. EM&S, its soft memory bound, trains at sf - ``soft_bound`` (0.05 in its code):
    an update drops to sf, and grows as many again; half of them later, then none. Lambda is 1 as Nowak et al. have it;
    MEST's scripts leave it at 0. The first masks are random; its code mutates those of the highest initial
    |w|. Left out: the removal of examples, block and pattern sparsity, a dense classifier.
    """
    dense = DENSE_LAYERS[dense_layers]
    rule = rule_sparing(LAYER_SPARSITIES[distribution], dense)
    criterion, si = MagnitudeAndGradient(gradient_weight), max(0.0, sf - soft_bound)
    prune, drop, until = None, Drop(criterion, count_sparing(by_fraction, dense)), regenerate_until
    if si < sf:
        prune = Prune(si, sf, 0, None, regenerate_until, by_layer(rule), criterion, curve=stairs)
        drop, until = Drop(criterion, down_to(by_layer(rule), sf)), "tf"
    return Method(
        "sparse_to_sparse",
        random(rule, si),
        update_interval,
        prune,
        Regenerate(drop, None, drop_fraction, 0.0, until, curve=lambda a, b, last: stairs(a, b, 0, last)),
    )
