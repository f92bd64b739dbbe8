"""Every method is one row: four axes and a clock, put together. Time is counted in optimizer steps.

A `Method` is a value. What depends on the length of the run is worked out by `Sparsifier`, which knows it.
To add a method, add a function and its row in METHODS; if that takes a new ``if`` elsewhere, an axis is missing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Annotated, Literal

from granet.criteria import Criterion, gradient, magnitude, random
from granet.distributions import Distribution, LayerSparsity, allocate, budget, er, erk, global_, uniform
from granet.granularity import ELEMENT, Granularity
from granet.masks import random_masks
from granet.schedules import cubic
from granet.steps import last_multiple
from granet.types import Masks, Schedule, Shapes, UserError

Init = Callable[[Shapes, int], Masks]  # (shapes, seed) -> masks at step 0
Family = Literal["dense", "before_training", "sparse_to_sparse", "dense_to_sparse"]

# Parameters that several rows share, with what params.yaml says of them. TIME marks a point in time: an optimizer
# step here, "110ep" or "2000it" in params.yaml.
TIME = "point in time"
InitialSparsity = Annotated[
    float, "initial sparsity, in [0, sf]: 0 starts dense, above 0 from random ERK masks"
]
PruneStart = Annotated[int, TIME, "first update that may prune, in epochs (0ep) or optimizer steps (0it)"]
PruneEnd = Annotated[
    int | None,
    TIME,
    "last update that prunes; auto: 0.6875 of the run from dense, the first drop of lr from sparse",
]
UpdateInterval = Annotated[int, "optimizer steps between mask updates"]
DropFraction = Annotated[
    float, "share of a layer's active weights dropped and regrown, at the start of the run"
]
DropFractionFinal = Annotated[float, "the same at the end of the run; a cosine lies between"]
RegenerateUntil = Annotated[Literal["end", "tf"], "end (of training) | tf (with pruning)"]
InitDistribution = Annotated[str, "layer sparsities: uniform | er | erk"]


LAYER_SPARSITIES: dict[str, LayerSparsity] = {"uniform": uniform, "er": er, "erk": erk}


@dataclass(frozen=True)
class Prune:
    """Gradual pruning, Eq. 1: sparsity si at t0 to sf at the last update not after tf.

    ``tf`` None: 0.6875 of the run from dense (epoch 110 of 160), 0.5 from sparse (the first learning-rate drop).
    """

    si: float
    sf: float
    t0: int
    tf: int | None
    distribution: Distribution = global_
    criterion: Criterion = magnitude

    def span(self, total_steps: int, update_interval: int) -> tuple[int, int]:
        """First and last step of pruning. Raises UserError where no update falls between them."""
        auto = round((0.5 if self.si > 0 else 0.6875) * total_steps)
        tf = auto if self.tf is None else self.tf
        if tf > total_steps:
            raise UserError(f"tf={tf} steps lies beyond the end of training ({total_steps} steps); lower tf")
        end = last_multiple(tf, update_interval)
        if end <= self.t0:
            raise UserError(
                f"update_interval={update_interval}: no mask update falls between t0={self.t0} and tf={tf} "
                f"(steps, of {total_steps}); lower update_interval or train longer"
            )
        return self.t0, end

    def schedule(self, total_steps: int, update_interval: int) -> Schedule:
        """Step -> sparsity to prune to."""
        return cubic(self.si, self.sf, *self.span(total_steps, update_interval))


@dataclass(frozen=True)
class Regenerate:
    """Drop and grow the same number in every layer; the fraction falls as a cosine over the whole run."""

    drop: Criterion
    grow: Criterion
    initial: float
    final: float
    until: Literal["end", "tf"] = "end"


@dataclass(frozen=True)
class Method:
    """A sparse-training method. ``None`` in a field: the method has no such phase."""

    family: Family
    init: Init | None = None  # None: no masks at all (dense)
    update_interval: int | None = None  # optimizer steps between mask updates
    prune: Prune | None = None
    regenerate: Regenerate | None = None
    granularity: Granularity = ELEMENT

    def __post_init__(self) -> None:
        if self.update_interval is not None and self.update_interval < 1:
            raise UserError(f"update_interval={self.update_interval} must be at least 1 optimizer step")
        if self.prune is not None:
            cubic(self.prune.si, self.prune.sf, 0, 1)  # raises on impossible sparsities
        if self.regenerate is not None:
            for key, value in (
                ("drop_fraction", self.regenerate.initial),
                ("drop_fraction_final", self.regenerate.final),
            ):
                if not 0 <= value <= 1:
                    raise UserError(
                        f"{key}={value} must lie in [0, 1]: it is a fraction of a layer's active weights"
                    )
            if self.regenerate.until not in ("end", "tf"):
                raise UserError(f"regenerate_until={self.regenerate.until!r} must be 'end' or 'tf'")


def random_init(distribution: str, sparsity: float) -> Init:
    """Random masks with the layer sparsities of ``distribution`` (uniform, er, erk); exact counts."""
    if distribution not in LAYER_SPARSITIES:
        raise UserError(
            f"distribution={distribution!r} is unknown; choose from {', '.join(LAYER_SPARSITIES)}"
        )
    if not 0 <= sparsity < 1:
        raise UserError(f"sparsity={sparsity} must lie in [0, 1): it is a fraction")

    def init(shapes: Shapes, seed: int) -> Masks:
        layers = LAYER_SPARSITIES[distribution](shapes, sparsity)
        sizes = {name: prod(shape) for name, shape in shapes.items()}
        return random_masks(shapes, allocate(layers, sizes, shapes, budget(shapes, sparsity)), seed)

    return init


def dense() -> Method:
    """No sparsity: the baseline, through the same loop."""
    return Method("dense")


def fixed(masks: Masks) -> Method:
    """Keep the given masks for the whole run: retraining (Sections 4.6 and 4.7 of GraNet)."""
    return Method("before_training", init=lambda shapes, seed: masks)


def static(*, sf: float, distribution: InitDistribution = "erk") -> Method:
    """Static: random masks that never change."""
    return Method("before_training", init=random_init(distribution, sf))


def gmp(
    *, sf: float, t0: PruneStart = 0, tf: PruneEnd = None, update_interval: UpdateInterval = 1000
) -> Method:
    """GMP (Zhu & Gupta 2017; Gale et al. 2019): gradual global magnitude pruning from dense."""
    return Method("dense_to_sparse", random_init("erk", 0.0), update_interval, prune=Prune(0.0, sf, t0, tf))


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
) -> Method:
    """GraNet (Liu et al. 2021): GMP plus zero-cost neuroregeneration; si = 0 from dense, si > 0 from ERK."""
    return Method(
        "sparse_to_sparse" if si > 0 else "dense_to_sparse",
        random_init("erk", si),
        update_interval,
        prune=Prune(si, sf, t0, tf),
        regenerate=Regenerate(magnitude, gradient, drop_fraction, drop_fraction_final, regenerate_until),
    )


def rigl(
    *,
    sf: float,
    update_interval: UpdateInterval = 1000,
    drop_fraction: DropFraction = 0.5,
    drop_fraction_final: DropFractionFinal = 0.005,
    distribution: InitDistribution = "erk",
) -> Method:
    """RigL (Evci et al. 2020), in the paper's In-Time Over-Parameterization setting: long interval, to the end."""
    return Method(
        "sparse_to_sparse",
        random_init(distribution, sf),
        update_interval,
        regenerate=Regenerate(magnitude, gradient, drop_fraction, drop_fraction_final),
    )


def set_(
    *,
    sf: float,
    update_interval: UpdateInterval = 1000,
    drop_fraction: DropFraction = 0.5,
    drop_fraction_final: DropFractionFinal = 0.005,
    distribution: InitDistribution = "erk",
) -> Method:
    """SET (Mocanu et al. 2018): RigL that grows at random."""
    return Method(
        "sparse_to_sparse",
        random_init(distribution, sf),
        update_interval,
        regenerate=Regenerate(magnitude, random, drop_fraction, drop_fraction_final),
    )


METHODS: dict[str, Callable[..., Method]] = {
    "dense": dense,
    "static": static,
    "gmp": gmp,
    "granet": granet,
    "rigl": rigl,
    "set": set_,
}
