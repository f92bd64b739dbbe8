"""Pruning plasticity (Section 3 of GraNet): prune once, in the middle of training, and see what becomes of the network.

A *branch* leaves the training run of a pre-trained network after some epoch. Its first optimizer step ends in the one
mask update of the branch: weights or filters are dropped by magnitude, and as many are grown by the gradient of that
step, or none. All else is the unpruned run's: weights, momentum, order of images, augmentation.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from torch import nn

from granet.common.granularity import ELEMENT, Granularity, filters
from granet.common.keys import check_keys, key
from granet.criteria import gradient, magnitude
from granet.distributions import nowhere, preserve
from granet.drops import Count, Drop, by_fraction, globally, one_stays
from granet.maskable import EVERY_LAYER, Choice
from granet.masks import random_masks
from granet.method import Method, Regenerate
from granet.methods.fixed import fixed
from granet.methods.static import static as static_method
from granet.schedules import constant
from granet.sparsifier import Sparsifier
from granet.sparsifier.coupling import groups_within
from granet.training.arithmetic import choose_arithmetic
from granet.training.config import TrainConfig
from granet.training.history import Row
from granet.training.loop import fit
from granet.training.optimizer import build_optimizer
from granet.training.run import Run
from granet.types import DivergedError, InitContext, Masks, UserError

Measurement = dict[str, Any]
"""What came of a branch, as a flat row: the fields of `Branch`, and what `measure` adds."""

GRANULARITIES = ("element", "filter")
SCOPES: dict[str, Count] = {"global": globally, "uniform": by_fraction}
OUTCOMES = ("plasticity", "final")
SHARE = 30 / 160
"""How long a network is trained on to measure its plasticity, as a share of the paper's run."""


@dataclass
class PlasticityConfig:
    """The plasticity study (Figures 2, 3, 5 to 14): when the networks of grid.pretrain are pruned once, and how."""

    epochs: list[int] = key(list(range(10, 160, 10)), "epochs after which a network is pruned", at_least=1)
    rates: list[float] = key(
        [0.2, 0.5, 0.9, 0.98],
        "shares of the active weights that are pruned at once, in [0, 1)",
        at_least=0,
        below=1,
    )
    filter_rates: list[float] = key(
        [0.1, 0.3, 0.5, 0.7], "the same for whole filters, of each layer", at_least=0, below=1
    )
    scopes: list[str] = key(
        ["global", "uniform"],
        "global (one threshold) | uniform (every layer alike); filters are always pruned layer by layer",
        choices=tuple(SCOPES),
    )
    regenerate: list[bool] = key([False, True], "whether as many are grown as were pruned")
    outcomes: list[str] = key(
        list(OUTCOMES),
        "plasticity (trained on at a frozen lr) | final (to the end of the schedule)",
        choices=OUTCOMES,
    )
    continued_epochs: int | None = key(
        None, "epochs at the frozen lr; null: 3/16 of the run (30 of 160)", at_least=1
    )

    def __post_init__(self) -> None:
        check_keys("plasticity", self)
        for name in ("epochs", "rates", "filter_rates", "scopes", "regenerate", "outcomes"):
            if not (values := getattr(self, name)) or len(set(values)) < len(values):
                raise UserError(f"plasticity.{name}={values} must name at least one entry, and none twice")

    def continued(self, train: TrainConfig) -> int:
        """Epochs that a network is trained on to measure its plasticity."""
        return self.continued_epochs or max(1, round(SHARE * train.total_epochs))


@dataclass(frozen=True)
class Branch:
    """One way to prune a network once: after ``epoch`` epochs, a share ``rate`` of its active weights or filters."""

    epoch: int
    outcome: str
    scope: str
    rate: float
    regenerated: bool

    @property
    def name(self) -> str:
        """E.g. plasticity-80-global-0.5-regenerated."""
        way = "regenerated" if self.regenerated else "pruned"
        return f"{self.outcome}-{self.epoch}-{self.scope}-{self.rate}-{way}"


def branches(config: PlasticityConfig, granularity: str) -> list[Branch]:
    """All branches of a pre-trained network, epoch by epoch."""
    by_filter = granularity == "filter"
    combinations = product(
        sorted(config.epochs),
        config.outcomes,
        ["uniform"] if by_filter else config.scopes,
        config.filter_rates if by_filter else config.rates,
        config.regenerate,
    )
    return [Branch(*combination) for combination in combinations]


def parse_network(text: str, key: str = "network") -> tuple[str, float]:
    """Granularity and sparsity of a pre-trained network. Raises UserError, naming ``key``, for anything else.

    >>> parse_network("filter-0.5")
    ('filter', 0.5)
    """
    granularity, _, number = text.partition("-")
    try:
        sparsity = float(number)
    except ValueError:
        sparsity = math.nan
    if granularity not in GRANULARITIES or not 0 <= sparsity < 1:
        raise UserError(
            f"{key}={text!r} is no network: write granularity-sparsity, e.g. element-0.9 or filter-0.5"
        )
    return granularity, sparsity


def static(network: str, model: nn.Module, choice: Choice = EVERY_LAYER) -> Method:
    """The method of pre-training: random masks that stay, the same share of every layer's weights or filters.

    Of filters those are pruned that lie, with the columns that read them, in layers of ``choice``; raises UserError
    where there are none, and as `groups_within` does.
    """
    granularity, sparsity = parse_network(network)
    method = static_method(sf=sparsity, distribution="uniform")
    if granularity == "element":
        return method
    groups = groups_within(model, choice.weights(model))
    if not groups:
        raise UserError(
            f"network={network!r}: no filter is in a chosen layer and read by chosen ones alone; choose more layers"
        )
    unit = filters(groups)

    def init(context: InitContext) -> Masks:
        left = {group.name: max(1, group.size - round(sparsity * group.size)) for group in groups}
        units = random_masks({group.name: (group.size,) for group in groups}, left, context.seed)
        units = {name: unit_mask.to(context.weights[name].device) for name, unit_mask in units.items()}
        return unit.expand(units, units, context.weights)

    return replace(method, init=init, granularity=unit)


def pruning(unit: Granularity, branch: Branch, masks: Masks, step: int, total_steps: int) -> Method:
    """The method of a branch that leaves after optimizer step ``step``: ``masks``, and one update, a step later."""
    count = SCOPES[branch.scope]
    phase = Regenerate(
        Drop(magnitude, count if unit is ELEMENT else one_stays(count)),
        gradient if branch.regenerated else magnitude,  # the dense gradient costs FLOPs
        initial=branch.rate,
        final=branch.rate,
        until=(step + 1) / total_steps,
        reallocate=preserve if branch.regenerated else nowhere,
    )
    return replace(fixed(masks), update_interval=step + 1, regenerate=phase, granularity=unit)


def leave(run: Run, branch: Branch, continued_epochs: int) -> Run:
    """The run of a branch. It shares the model with ``run``; its state comes from a checkpoint of that run."""
    epoch_steps = len(run.data.train)
    step = branch.epoch * epoch_steps
    frozen = branch.outcome == "plasticity"
    epochs = branch.epoch + continued_epochs if frozen else run.epochs
    run.model.zero_grad(set_to_none=True)  # a branch may have been cut short
    optimizer, old, choice = build_optimizer(run.model, run.config), run.sparsifier, run.config.choice
    method = pruning(old.method.granularity, branch, old.masks, step, epochs * epoch_steps)
    sparsifier = Sparsifier(
        run.model, optimizer, method, seed=run.seed, total_steps=epochs * epoch_steps, **vars(choice)
    )
    choose_arithmetic(run.model, sparsifier, run.dense, run.config.kernels, run.precision)  # by these masks
    return replace(
        run,
        optimizer=optimizer,
        sparsifier=sparsifier,
        epochs=epochs,
        lr=constant(run.lr(step)) if frozen else run.lr,
        evaluate_from=epochs,
    )


def measure(
    run: Run,
    branch: Branch,
    state: dict,
    final_accuracy: float,
    continued_epochs: int,
    *,
    title: str,
    folder: Path,
    on_epoch: Callable[[Row], None] = lambda row: None,
) -> Measurement:
    """Train a branch from ``state``, the checkpoint of its epoch, and return what came of it as a flat row.

    ``before`` is the test accuracy that ``after`` is compared with: of the network as it was pruned, or, at the end of
    the schedule, ``final_accuracy``, that of the unpruned run. Fractions; None where the branch diverged. An
    interrupted branch goes on from its checkpoint in ``folder``.
    """
    before = state["history"][-1]
    end = replace(leave(run, branch, continued_epochs), title=title)
    compared = before["test_accuracy"] if branch.outcome == "plasticity" else final_accuracy
    result: Measurement = {
        **vars(branch),
        "lr": end.lr(before["step"]),
        "before": compared,
        "after": None,
        "change": None,
    }
    try:
        last = fit(
            end,
            history_csv=folder / "history.csv",
            checkpoint_path=folder / "last.pt",
            on_epoch=lambda row: on_epoch(row) if row["epoch"] > branch.epoch else None,
            start=copy.deepcopy(state),  # an optimizer works on the tensors that it is given
        )[-1]
    except DivergedError:
        return result | {"sparsity": end.sparsifier.sparsity, "steps": end.sparsifier.step, "time_s": None}
    return result | {
        "after": last["test_accuracy"],
        "change": last["test_accuracy"] - compared,
        "sparsity": last["sparsity"],
        "steps": last["step"],
        "time_s": last["time_s"] - before["time_s"],
    }
