"""The few types every floor shares.

Tensors travel as plain dicts keyed by parameter name, e.g. ``{"layer1.0.conv1.weight": weight_OIHW}``.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

Tensors = dict[str, Tensor]
Masks = dict[str, Tensor]  # bool, True = active
Shapes = dict[str, tuple[int, ...]]
Counts = dict[str, int]
Schedule = Callable[[int], float]  # a function of the optimizer step, never of a counter
Build = Callable[[int], nn.Module]  # seed -> a freshly initialised model


class UserError(ValueError):
    """Bad input. The message is one line that names the key, the value and the fix."""


@dataclass(frozen=True)
class Snapshot:
    """What a criterion may look at: one optimizer step, seen from the outside.

    All dicts have the same keys. ``gradients`` is empty where a method never reads the dense gradient.
    """

    weights: Tensors
    gradients: Tensors
    step: int
    seed: int
