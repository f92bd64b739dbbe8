"""Parameters that several methods share, with what params.yaml says of them and the values that they may have.

TIME marks a point in time: an optimizer step here, "110ep" or "2000it" in params.yaml. INTERVAL marks a number of
steps, which may also be "auto" there: the default, less in a short run, or what `Updates` says.
"""

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Annotated, Literal, TypeVar

from granet.common.keys import Key
from granet.distributions import (
    Distribution,
    LayerSparsity,
    by_layer,
    er,
    erk,
    global_,
    uniform,
    uniform_capped,
)
from granet.methods.dense_layers import DENSE_LAYERS

TIME = "point in time"
INTERVAL = "interval"


@dataclass(frozen=True)
class Updates:
    """Beside INTERVAL: what "auto" stands for is not the default, but as many updates in a run of any length."""

    number: int


LAYER_SPARSITIES: dict[str, LayerSparsity] = {"uniform": uniform, "er": er, "erk": erk}
PRUNE_DISTRIBUTIONS: dict[str, Distribution] = {"global": global_, "uniform": by_layer(uniform_capped)}

Sparsity = Annotated[float, Key("final sparsity, a fraction of the weights", at_least=0, below=1)]
Begun = Annotated[
    float,
    Key(
        "sparsity of the trained network that is pruned further, below sf; 0: it is dense",
        at_least=0,
        below=1,
    ),
]
InitialSparsity = Annotated[
    float,
    Key("initial sparsity, in [0, sf]: 0 starts dense, above 0 from random ERK masks", at_least=0, below=1),
]
PruneStart = Annotated[
    int, TIME, Key("first update that may prune, in epochs (0ep) or optimizer steps (0it)", at_least=0)
]
PruneEnd = Annotated[
    int | None,
    TIME,
    Key(
        "last update that prunes; auto: 0.6875 of the run from dense, the first drop of lr (or 0.5) from sparse",
        at_least=0,
    ),
]
UpdateInterval = Annotated[
    int,
    INTERVAL,
    Key("between mask updates: 1000it, 1ep; auto: the method's own, less in a short run", at_least=1),
]
DropFraction = Annotated[
    float,
    Key(
        "share of a layer's active weights dropped and regrown, at the start of the run",
        at_least=0,
        at_most=1,
    ),
]
DropFractionFinal = Annotated[
    float,
    Key(
        "the same at the end of the run, or at the share regenerate_until; a cosine lies between",
        at_least=0,
        at_most=1,
    ),
]
RegenerateUntil = Annotated[
    Literal["end", "tf"], Key("end (of training) | tf (with pruning)", choices=("end", "tf"))
]
RegenerateShare = Annotated[
    float, Key("share of the run after which nothing is regenerated, in (0, 1]", above=0, at_most=1)
]
Regrown = Annotated[
    Literal["zero", "kept"],
    Key(
        "what a weight that one update drops and grows again starts from: zero | kept (its value and momentum)",
        choices=("zero", "kept"),
    ),
]
InitDistribution = Annotated[
    str, Key("layer sparsities: uniform | er | erk", choices=tuple(LAYER_SPARSITIES))
]
PruneDistribution = Annotated[
    str,
    Key(
        "global (one threshold) | uniform (every layer alike, the classifier never above 0.8)",
        choices=tuple(PRUNE_DISTRIBUTIONS),
    ),
]
DenseLayersName = Annotated[
    str,
    Key(
        "layers that stay dense: none | first (convolution) | shortcuts (and the first) | classifier",
        choices=tuple(DENSE_LAYERS),
    ),
]
NumImages = Annotated[int, Key("training images that decide", at_least=1)]
Rounds = Annotated[int, Key("rounds of pruning, along an exponential", at_least=1)]
RoundImages = Annotated[
    int, Key("training images that decide a round; each round takes the next ones", at_least=1)
]

Row = TypeVar("Row", bound=Callable[..., object])


def checked(row: Row) -> Row:
    """A method's function whose arguments must be what the Keys of its annotations allow; else UserError."""
    hints = typing.get_type_hints(row, include_extras=True)
    keys = {
        name: about
        for name, hint in hints.items()
        for about in getattr(hint, "__metadata__", ())
        if isinstance(about, Key)
    }
    signature = inspect.signature(row)

    @wraps(row)
    def call(*args: object, **kwargs: object) -> object:
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            if name in keys:
                keys[name].check(name, value)
        return row(*args, **kwargs)

    return call  # type: ignore[return-value]
