"""The few types every floor shares.

Tensors travel as plain dicts keyed by parameter name, e.g. ``{"layer1.0.conv1.weight": weight_OIHW}``.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

Tensors = dict[str, Tensor]
Masks = dict[str, Tensor]  # bool, True = active
Shapes = dict[str, tuple[int, ...]]
Counts = dict[str, int]
Schedule = Callable[[int], float]  # a function of the optimizer step, never of a counter
Build = Callable[[int], nn.Module]  # seed -> a freshly initialised model


Batches = Iterable[tuple[Tensor, Tensor]] | Callable[[], Iterable[tuple[Tensor, Tensor]]]
"""Inputs and labels: an iterable, as a list or a DataLoader, or a function that returns one."""
Loss = Callable[[Tensor, Tensor], Tensor]


class UserError(ValueError):
    """Bad input. The message is one line that names the key, the value and the fix."""


class DivergedError(UserError):
    """A loss, a gradient or a weight has become NaN or infinite."""


@dataclass(frozen=True)
class Snapshot:
    """What a criterion may look at: one optimizer step, seen from the outside.

    All dicts have the same keys. A dict that the method has no use for may be empty.
    """

    weights: Tensors
    gradients: Tensors
    step: int
    seed: int
    momentum: Tensors = field(default_factory=dict)
    thresholds: Tensors = field(default_factory=dict)
    """The learned soft threshold of every tensor, 0-dim (STR)."""
    memory: Tensors = field(default_factory=dict)
    """What the method remembers from update to update (Deep-R's signs, DSR's threshold)."""
    masks: Masks = field(default_factory=dict)
    """What was active when the step was taken: before anything of its update."""
    progress: float = 0.0
    """Share of the run that is over, in [0, 1]."""


@dataclass(frozen=True)
class InitContext:
    """What the choice of the initial masks may look at.

    ``weights`` are the model's maskable parameters by name, in the model's order. ``batches`` are training
    inputs, as images (N, C, H, W), and labels (N), not augmented, in a fixed order; None where the caller has none to
    give. ``loss`` makes one number of outputs and labels.
    """

    model: nn.Module
    weights: Tensors
    seed: int
    batches: Batches | None = None
    loss: Loss = cross_entropy
    stacks: dict[str, int] = field(default_factory=dict)
    """Weights that are several matrices, one upon the other along axis 0 -> how many."""

    @property
    def shapes(self) -> Shapes:
        """Shape of every maskable weight."""
        return {name: tuple(weight.shape) for name, weight in self.weights.items()}


Init = Callable[[InitContext], Masks]
"""What is there before step 1 -> the masks of step 0."""
