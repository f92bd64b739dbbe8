"""What a run's convolutions compute with: all weights, by torch, or the active ones alone, by `granet.kernels`."""

from torch import nn

from granet import kernels
from granet.flops import Flops
from granet.sparsifier import Sparsifier
from granet.types import UserError

CHOICES = ("dense", "sparse", "auto")
PAYS_BELOW = {"bf16": 0.35, "fp32": 0.45}
"""The share of its dense FLOPs below which a network is faster sparsely, by the precision of the dense arithmetic.

Measured where it pays least (docs/performance.md). A property of the masks alone: a choice by the clock
would let two runs of one seed differ.
"""


class Share:
    """Whether a network's FLOPs are below a share of its dense ones, asked once per step."""

    def __init__(self, sparsifier: Sparsifier, dense: Flops, limit: float) -> None:
        self._sparsifier = sparsifier
        self._dense = dense
        self._limit = limit
        self._sizes = {name: mask.numel() for name, mask in sparsifier.masks.items()}
        self._step = -1
        self._is_below = False

    def is_below(self) -> bool:
        """At the sparsifier's step."""
        if self._step != self._sparsifier.step:
            self._step = self._sparsifier.step
            now = self._dense.at(self._sparsifier.layer_sparsity).total
            self._is_below = now < self._limit * self._left()
        return self._is_below

    def _left(self) -> float:
        """FLOPs of the dense network as it is, without the channels that were cut out of it."""
        masks = self._sparsifier.masks
        shares = {name: masks[name].numel() / size for name, size in self._sizes.items()}
        return self._dense.at({name: 1 - share for name, share in shares.items()}).total


def choose_arithmetic(
    model: nn.Module, sparsifier: Sparsifier, dense: Flops, choice: str, precision: str
) -> str:
    """Switch ``model`` to the kernels as ``train.kernels`` says; returns what it computes with, in words.

    ``sparse``: from the first step on. ``auto``: while the network's FLOPs are below PAYS_BELOW of the dense ones.
    Raises UserError where ``sparse`` is asked for and cannot be.
    """
    if choice == "dense" or not sparsifier.masks:
        return "dense"
    reason = kernels.why_not()
    if sparsifier.method.projection.keeps_values:
        reason = "this method masks in the forward, and masked weights keep their values"
    elif next(model.parameters()).device.type != "cpu":
        reason = f"the model is on {next(model.parameters()).device}, and they are for CPUs"
    if reason and choice == "sparse":
        raise UserError(f"train.kernels=sparse cannot be: {reason}; write kernels: dense")
    if reason:
        return f"dense: {reason}"
    limit = PAYS_BELOW[precision]
    kernels.accelerate(
        model,
        sparsifier.masks,
        reads_gradient=lambda: sparsifier.reads_gradient_at(sparsifier.step + 1),
        pays=Share(sparsifier, dense, limit).is_below if choice == "auto" else lambda: True,
    )
    return "sparse" if choice == "sparse" else f"sparse below {limit:.0%} of the dense FLOPs"
