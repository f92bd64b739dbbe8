"""Pruning the trained network on a budget."""

from typing import Annotated

from granet.common.keys import Key
from granet.method import Method, Retrain
from granet.methods.iterative import iterative
from granet.methods.parameters import TIME, Begun, Sparsity, checked
from granet.methods.retraining import SCHEDULES


@checked
def bimp(
    *,
    sf: Sparsity,
    rounds: Annotated[int, Key("prunings, retraining after each; 1: one-shot", at_least=1)] = 3,
    budget: Annotated[
        int | None,
        TIME,
        Key("retraining after each pruning, in epochs (10ep) or steps; auto: a tenth of the run", at_least=1),
    ] = None,
    schedule: Annotated[
        str,
        Key("learning rates of retraining: ft | lrw | slr | clr | llr | allr", choices=tuple(SCHEDULES)),
    ] = "allr",
    begun: Begun = 0.0,
) -> Method:
    """BIMP (Zimmer et al. 2023): prune the trained network globally, retrain on a budget, in rounds.

    Every round prunes the same share of the active weights; weights go on, and the learning rates are made of the
    trained network's (`granet.methods.retraining`). The optimizer starts afresh with every round; in its code the
    momentum goes on from one to the next. Three rounds and a tenth of the run are ours, for it has neither: give
    ``budget`` some epochs where a run is short. Left out: the budget for the dense training, which is train.epochs of
    the dense run, and uniform and ERK distributions.
    """
    return iterative(begun, sf, rounds, "lr", Retrain(budget, SCHEDULES[schedule]))
