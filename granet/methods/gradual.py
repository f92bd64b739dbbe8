"""Gradual pruning along Eq. 1 of GraNet, which GMP, STR, DPF and GraNet share."""

from typing import Literal

from granet.criteria import Criterion, magnitude
from granet.method import Prune
from granet.methods.dense_layers import DenseLayers, distribution_sparing
from granet.methods.parameters import PRUNE_DISTRIBUTIONS

AUTO_FROM_DENSE = 0.6875
"""Where pruning ends in GraNet's CIFAR runs from dense: epoch 110 of 160 (Table 7)."""
AUTO_FROM_SPARSE = 0.5
"""The same from sparse: the first drop of the learning rate."""


def gradual(
    sf: float,
    t0: int,
    tf: int | None,
    distribution: str,
    *,
    si: float = 0.0,
    criterion: Criterion = magnitude,
    until: Literal["tf", "end"] = "tf",
    dense_layers: DenseLayers | None = None,
) -> Prune:
    """Sparsity ``si`` at optimizer step ``t0`` to ``sf`` at ``tf`` (None: a share of the run)."""
    auto, counts = AUTO_FROM_SPARSE if si > 0 else AUTO_FROM_DENSE, PRUNE_DISTRIBUTIONS[distribution]
    if dense_layers is not None:
        counts = distribution_sparing(counts, dense_layers)
    return Prune(si, sf, t0, tf, auto, counts, criterion, until=until)
