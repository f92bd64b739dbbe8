"""Every method is one row: four axes and a clock, put together. Time is counted in optimizer steps.

To add a method, add a function and its row in METHODS (docs/adding-a-method.md); if that takes a new ``if`` elsewhere,
an axis is missing. Defaults are those of each method's own paper, or of GraNet's experiments with it where it says so.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from math import prod
from typing import Annotated, Any, Literal

import torch

from granet.common.keys import Key
from granet.criteria import Criterion, gradient, magnitude, momentum, over_threshold, random, sign_flip
from granet.distributions import (
    Distribution,
    LayerSparsity,
    allocate,
    budget,
    by_active,
    by_layer,
    by_momentum,
    er,
    erk,
    global_,
    uniform,
    uniform_capped,
)
from granet.drops import Drop, below_threshold, below_zero, initial_signs
from granet.inits import saliency
from granet.inits.sis import sis as inclusion_scores
from granet.langevin import Langevin
from granet.masks import random_masks, thin_masks
from granet.method import Init, Method, Prune, Regenerate
from granet.reparam import Feedback, Masked, SoftThreshold
from granet.schedules import geometric
from granet.types import Given, Masks, Tensors, UserError
from granet.update import prune

# Parameters that several rows share, with what params.yaml says of them. TIME marks a point in time: an optimizer
# step here, "110ep" or "2000it" in params.yaml. INTERVAL marks a number of steps, which may also be "auto" there.
TIME = "point in time"
INTERVAL = "interval"
InitialSparsity = Annotated[
    float, Key("initial sparsity, in [0, sf]: 0 starts dense, above 0 from random ERK masks")
]
PruneStart = Annotated[
    int, TIME, Key("first update that may prune, in epochs (0ep) or optimizer steps (0it)")
]
PruneEnd = Annotated[
    int | None,
    TIME,
    Key("last update that prunes; auto: 0.6875 of the run from dense, the first drop of lr from sparse"),
]
UpdateInterval = Annotated[
    int, INTERVAL, Key("between mask updates: 1000it, 1ep; auto: the method's own, less in a short run")
]
DropFraction = Annotated[
    float, Key("share of a layer's active weights dropped and regrown, at the start of the run")
]
DropFractionFinal = Annotated[float, Key("the same at the end of the run; a cosine lies between")]
RegenerateUntil = Annotated[Literal["end", "tf"], Key("end (of training) | tf (with pruning)")]
RegenerateShare = Annotated[float, Key("share of the run after which nothing is regenerated, in (0, 1]")]
InitDistribution = Annotated[str, Key("layer sparsities: uniform | er | erk")]
PruneDistribution = Annotated[
    str, Key("global (one threshold) | uniform (every layer alike, the classifier never above 0.8)")
]
NumImages = Annotated[int, Key("training images that decide")]

LAYER_SPARSITIES: dict[str, LayerSparsity] = {"uniform": uniform, "er": er, "erk": erk}
PRUNE_DISTRIBUTIONS: dict[str, Distribution] = {"global": global_, "uniform": by_layer(uniform_capped)}
AUTO_FROM_DENSE = 0.6875
"""Where pruning ends in GraNet's CIFAR runs from dense: epoch 110 of 160 (Table 7)."""
AUTO_FROM_SPARSE = 0.5
"""The same from sparse: the first drop of the learning rate."""


def _choose(key: str, value: str, choices: Mapping[str, Any]) -> Any:
    if value not in choices:
        raise UserError(f"{key}={value!r} is unknown; choose from {', '.join(choices)}")
    return choices[value]


def _check_fraction(key: str, value: float) -> None:
    if not 0 <= value < 1:
        raise UserError(f"{key}={value} must lie in [0, 1): it is a fraction")


def _check_positive(key: str, value: float) -> None:
    if not value > 0:
        raise UserError(f"{key}={value} must be above 0")


def random_init(distribution: str, sparsity: float) -> Init:
    """Random masks with the layer sparsities of ``distribution`` (uniform, er, erk); exact counts."""
    layer_sparsity = _choose("distribution", distribution, LAYER_SPARSITIES)
    _check_fraction("sparsity", sparsity)

    def init(given: Given) -> Masks:
        shapes = given.shapes
        sizes = {name: prod(shape) for name, shape in shapes.items()}
        counts = allocate(layer_sparsity(shapes, sparsity), sizes, shapes, budget(shapes, sparsity))
        return random_masks(shapes, counts, given.seed)

    return init


def best_init(scores: Callable[[Given], Tensors], sparsity: float) -> Init:
    """The highest ``scores`` of all tensors together stay active: pruning once, globally, to an exact count."""
    _check_fraction("sparsity", sparsity)

    def init(given: Given) -> Masks:
        found = scores(given)
        everything = {name: torch.ones_like(score, dtype=torch.bool) for name, score in found.items()}
        return prune(everything, found, global_(found, everything, sparsity))

    return init


def _trained_magnitude(given: Given) -> Tensors:
    return {name: weight.detach().abs() for name, weight in given.weights.items()}


def _gradual(
    sf: float,
    t0: int,
    tf: int | None,
    distribution: str,
    *,
    si: float = 0.0,
    criterion: Criterion = magnitude,
    until: Literal["tf", "end"] = "tf",
) -> Prune:
    """Gradual pruning along Eq. 1 of GraNet."""
    auto = AUTO_FROM_SPARSE if si > 0 else AUTO_FROM_DENSE
    axis = _choose("distribution", distribution, PRUNE_DISTRIBUTIONS)
    return Prune(si, sf, t0, tf, auto, axis, criterion, until=until)


def dense() -> Method:
    """No sparsity: the baseline, through the same loop."""
    return Method("dense")


def fixed(masks: Masks) -> Method:
    """Keep the given masks for the whole run: retraining (Sections 4.6 and 4.7 of GraNet)."""
    return Method("before_training", init=lambda given: masks)


def static(*, sf: float, distribution: InitDistribution = "erk") -> Method:
    """Static: random masks that never change."""
    return Method("before_training", init=random_init(distribution, sf))


def small_dense(*, sf: float) -> Method:
    """Small-Dense: a thinner dense network with as many weights, as masks that keep a block of channels."""
    _check_fraction("sparsity", sf)
    return Method("before_training", init=lambda given: thin_masks(given.shapes, sf))


def snip(*, sf: float, num_images: NumImages = 128) -> Method:
    """SNIP (Lee et al. 2019): the weights to which the loss is most sensitive at initialisation."""
    _check_positive("num_images", num_images)
    return Method("before_training", best_init(partial(saliency.snip, num_images=num_images), sf))


def grasp(
    *,
    sf: float,
    images_per_class: Annotated[int, Key("training images of every class that decide")] = 10,
    temperature: Annotated[float, Key("divides the logits")] = 200.0,
) -> Method:
    """GraSP (Wang et al. 2020): the weights that keep the gradient flowing at initialisation."""
    _check_positive("images_per_class", images_per_class)
    _check_positive("temperature", temperature)
    scores = partial(saliency.grasp, images_per_class=images_per_class, temperature=temperature)
    return Method("before_training", best_init(scores, sf))


def synflow(
    *, sf: float, rounds: Annotated[int, Key("rounds of pruning, along an exponential")] = 100
) -> Method:
    """SynFlow (Tanaka et al. 2020): iterative, without data, conserving the flow of every layer."""
    _check_fraction("sparsity", sf)
    _check_positive("rounds", rounds)
    return Method("before_training", lambda given: saliency.synflow(given, sf, rounds))


def set_(
    *,
    sf: float,
    update_interval: UpdateInterval = 352,
    drop_fraction: DropFraction = 0.3,
    drop_fraction_final: DropFractionFinal = 0.3,
    distribution: InitDistribution = "er",
) -> Method:
    """SET (Mocanu et al. 2018): drop by magnitude, grow at random, once an epoch (352 steps on CIFAR-10)."""
    return Method(
        "sparse_to_sparse",
        random_init(distribution, sf),
        update_interval,
        regenerate=Regenerate(Drop(magnitude), random, drop_fraction, drop_fraction_final),
    )


def deep_r(
    *,
    sf: float,
    update_interval: UpdateInterval = 1,
    l1: Annotated[float, Key("pull of active weights towards zero, per unit of lr")] = 1e-5,
    noise: Annotated[
        float, Key("standard deviation of the random walk of active weights, per unit of lr")
    ] = 1e-5,
    distribution: InitDistribution = "uniform",
) -> Method:
    """Deep-R (Bellec et al. 2018): a connection whose sign flips is dropped, another grows at random."""
    return Method(
        "sparse_to_sparse",
        random_init(distribution, sf),
        update_interval,
        regenerate=Regenerate(Drop(sign_flip, below_zero, initial_signs), random),
        langevin=Langevin(l1, noise),
    )


def dsr(
    *,
    sf: float,
    update_interval: UpdateInterval = 352,
    drop_fraction: Annotated[float, Key("share of all active weights that the threshold aims to drop")] = 0.1,
    threshold: Annotated[float, Key("initial threshold on the magnitude; it doubles or halves")] = 1e-3,
    tolerance: Annotated[float, Key("deviation from the aim that changes the threshold, a fraction")] = 0.1,
    distribution: InitDistribution = "uniform",
) -> Method:
    """DSR (Mostafa & Wang 2019): one adaptive threshold drops, layers grow in proportion to what they keep."""
    _check_positive("threshold", threshold)
    _check_positive("tolerance", tolerance)
    remember, count = below_threshold(threshold, tolerance)
    return Method(
        "sparse_to_sparse",
        random_init(distribution, sf),
        update_interval,
        regenerate=Regenerate(
            Drop(magnitude, count, remember), random, drop_fraction, drop_fraction, reallocate=by_active
        ),
    )


def snfs(
    *,
    sf: float,
    update_interval: UpdateInterval = 352,
    drop_fraction: DropFraction = 0.5,
    drop_fraction_final: DropFractionFinal = 0.0,
    distribution: InitDistribution = "erk",
) -> Method:
    """SNFS (Dettmers & Zettlemoyer 2019): growth, within and among layers, by a momentum that stays dense."""
    return Method(
        "sparse_to_sparse",
        random_init(distribution, sf),
        update_interval,
        regenerate=Regenerate(
            Drop(magnitude), momentum, drop_fraction, drop_fraction_final, reallocate=by_momentum
        ),
        dense_gradient=True,
    )


def rigl(
    *,
    sf: float,
    update_interval: UpdateInterval = 1000,
    drop_fraction: DropFraction = 0.5,
    drop_fraction_final: DropFractionFinal = 0.005,
    regenerate_until: RegenerateShare = 1.0,
    distribution: InitDistribution = "erk",
) -> Method:
    """RigL (Evci et al. 2020): drop by magnitude, grow by gradient; defaults as in GraNet's runs of it."""
    return Method(
        "sparse_to_sparse",
        random_init(distribution, sf),
        update_interval,
        regenerate=Regenerate(
            Drop(magnitude), gradient, drop_fraction, drop_fraction_final, regenerate_until
        ),
    )


def gmp(
    *,
    sf: float,
    t0: PruneStart = 0,
    tf: PruneEnd = None,
    update_interval: UpdateInterval = 1000,
    distribution: PruneDistribution = "global",
) -> Method:
    """GMP (Zhu & Gupta 2017; Gale et al. 2019): gradual magnitude pruning from dense."""
    prune_ = _gradual(sf, t0, tf, distribution)
    return Method("dense_to_sparse", random_init("erk", 0.0), update_interval, prune_)


def gmp_original(
    *,
    sf: float,
    t0: PruneStart = 0,
    tf: PruneEnd = None,
    update_interval: UpdateInterval = 1000,
    distribution: PruneDistribution = "uniform",
) -> Method:
    """Original GMP (Appendix C.3 of GraNet): masked weights keep their values, and may come back."""
    prune_ = _gradual(sf, t0, tf, distribution)
    return Method("dense_to_sparse", random_init("erk", 0.0), update_interval, prune_, reparam=Masked)


def str_(
    *, sf: float, t0: PruneStart = 0, tf: PruneEnd = None, update_interval: UpdateInterval = 100
) -> Method:
    """STR (Kusupati et al. 2020): learned soft thresholds; a common factor brings them to the sparsity of Eq. 1."""
    prune_ = _gradual(sf, t0, tf, "global", criterion=over_threshold)
    return Method("dense_to_sparse", random_init("erk", 0.0), update_interval, prune_, reparam=SoftThreshold)


def dpf(
    *,
    sf: float,
    t0: PruneStart = 0,
    tf: PruneEnd = None,
    update_interval: UpdateInterval = 16,
    distribution: PruneDistribution = "global",
) -> Method:
    """DPF (Lin et al. 2020): the gradient of the pruned model trains all weights; masks follow to the end."""
    prune_ = _gradual(sf, t0, tf, distribution, until="end")
    return Method(
        "dense_to_sparse",
        random_init("erk", 0.0),
        update_interval,
        prune_,
        dense_gradient=True,
        reparam=Feedback,
    )


def granet(
    *,
    sf: float,
    si: InitialSparsity = 0.0,
    t0: PruneStart = 0,
    tf: PruneEnd = None,
    update_interval: UpdateInterval = 1000,
    drop_fraction: DropFraction = 0.5,
    drop_fraction_final: DropFractionFinal = 0.005,
    regenerate_until: RegenerateUntil = "end",
    distribution: PruneDistribution = "global",
) -> Method:
    """GraNet (Liu et al. 2021): GMP plus zero-cost neuroregeneration; si = 0 from dense, si > 0 from ERK."""
    return Method(
        "sparse_to_sparse" if si > 0 else "dense_to_sparse",
        random_init("erk", si),
        update_interval,
        prune=_gradual(sf, t0, tf, distribution, si=si),
        regenerate=Regenerate(
            Drop(magnitude), gradient, drop_fraction, drop_fraction_final, regenerate_until
        ),
    )


def one_shot(*, sf: float) -> Method:
    """One-shot: prune the trained dense network by magnitude, globally, and retrain with the full schedule."""
    return Method("after_training", best_init(_trained_magnitude, sf))


def imp(
    *,
    sf: float,
    prune_fraction: Annotated[float, Key("share of the active weights pruned per round, in (0, 1)")] = 0.2,
    rewind: Annotated[
        Literal["weights", "lr"], Key("each round starts from: weights (initial) | lr (last)")
    ] = "weights",
) -> Method:
    """IMP (Frankle & Carbin 2019): prune the trained network globally, rewind, train again, in rounds."""
    if not 0 < prune_fraction < 1:
        raise UserError(
            f"prune_fraction={prune_fraction} must lie in (0, 1): it is a share of active weights"
        )
    _check_fraction("sparsity", sf)
    rounds = max(1, math.ceil(math.log(1 - sf) / math.log(1 - prune_fraction) - 1e-9))
    first = 1 - (1 - sf) ** (1 / rounds)
    return Method(
        "after_training",
        best_init(_trained_magnitude, first),
        prune=Prune(first, sf, 0, None, (rounds - 1) / rounds, curve=geometric) if rounds > 1 else None,
        rounds=rounds,
        restart=rewind,
    )


def sis(*, sf: float, num_images: NumImages = 256) -> Method:
    """SIS (Verma & Pesquet 2021): what the trained activations need, by subdifferential inclusion; retrained."""
    _check_positive("num_images", num_images)
    return Method("after_training", best_init(partial(inclusion_scores, num_images=num_images), sf))


METHODS: dict[str, Callable[..., Method]] = {
    "dense": dense,
    "static": static,
    "small_dense": small_dense,
    "snip": snip,
    "grasp": grasp,
    "synflow": synflow,
    "set": set_,
    "deep_r": deep_r,
    "dsr": dsr,
    "snfs": snfs,
    "rigl": rigl,
    "gmp": gmp,
    "gmp_original": gmp_original,
    "str": str_,
    "dpf": dpf,
    "granet": granet,
    "one_shot": one_shot,
    "imp": imp,
    "sis": sis,
}
