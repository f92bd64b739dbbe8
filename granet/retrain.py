"""Retraining a mask that a finished run has found (Sections 4.6 and 4.7 of GraNet).

Each way is one function: it makes the weights the retraining starts from. The mask stays fixed (`methods.fixed`),
and the full schedule is run again.
"""

from collections.abc import Callable

from torch import nn

from granet.common.seeds import stable_seed
from granet.types import Build, Tensors


def reinit(build: Build, seed: int) -> nn.Module:
    """New random weights: does the mask alone explain the accuracy? (Section 4.6, Figure 4)"""
    return build(stable_seed("reinit", seed))


def lth(build: Build, seed: int, final: Tensors) -> nn.Module:
    """The run's own initial weights: the lottery ticket hypothesis (Frankle & Carbin 2019; Table 6)."""
    return build(seed)


def lrr(build: Build, seed: int, final: Tensors) -> nn.Module:
    """The final weights, so that only the learning rate is rewound (Renda et al. 2020; Table 6)."""
    model = build(seed)
    model.load_state_dict(final)
    return model


REWINDS: dict[str, Callable[[Build, int, Tensors], nn.Module]] = {"lth": lth, "lrr": lrr}
"""The ways of the `retrain` stage; `reinit` is a stage of its own."""
