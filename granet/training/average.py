"""A running average of a run's weights (EMA), which is evaluated and saved in their place where there is one."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import nn

from granet.common import distributed
from granet.sparsifier import Sparsifier


class Average:
    """After every optimizer step a <- decay a + (1 - decay) w, for parameters and statistics of BatchNorm alike.

    It starts as the run does. What a mask update prunes is zero here too, at once, so that the average is as sparse as
    the run; what it grows rises from zero, as in the run; what it drops and grows at once keeps its average. Where
    masked weights keep their values, as under a mask in the forward, their averages do, and the forward masks them. A
    round that rewinds begins the average anew. ``decay`` None: there is no average, and nothing here does anything.
    """

    def __init__(self, model: nn.Module, decay: float | None) -> None:
        self._model, self._decay = model, decay
        kept = model.state_dict().keys() if decay is not None else ()
        named = chain(model.named_parameters(), model.named_buffers())
        self._live = {name: tensor.detach() for name, tensor in named if name in kept}
        self._values = {name: tensor.clone() for name, tensor in self._live.items()}

    @property
    def words(self) -> str:
        """Which weights a run evaluates and saves, where there is an average."""
        return f"their average, decay {self._decay}"

    @property
    def is_kept(self) -> bool:
        """Whether there is one."""
        return self._decay is not None

    @torch.no_grad()
    def follow(self) -> None:
        """Take in the weights of a step; counts are those of the run."""
        if self._decay is None:
            return
        floating = [name for name, value in self._values.items() if value.is_floating_point()]
        averages, weights = ([tensors[name] for name in floating] for tensors in (self._values, self._live))
        torch._foreach_lerp_(averages, weights, 1 - self._decay)  # pyright: ignore[reportPrivateImportUsage]
        for name in self._values.keys() - set(floating):
            self._values[name].copy_(self._live[name])

    def after_step(self, sparsifier: Sparsifier, *, restarts: bool) -> None:
        """After `Sparsifier.after_step`, which may have changed the masks, or rewound the weights (``restarts``)."""
        if not self.is_kept:
            return
        if restarts:
            _copy(self._live, self._values)
        else:
            self.follow()
        if sparsifier.updates_at(sparsifier.step) and not sparsifier.method.projection.keeps_values:
            sparsifier.mask_(self._values)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """In the block, the model has the averaged weights; all processes have the first one's statistics."""
        trained = {name: tensor.clone() for name, tensor in self._live.items()} if self.is_kept else {}
        self.settle()
        try:
            yield
        finally:
            _copy(trained, self._live)

    def settle(self) -> None:
        """Leave the averaged weights in the model, as its result."""
        if self.is_kept:
            _copy(self._values, self._live)
            distributed.share_buffers(self._model)

    def state_dict(self) -> dict:
        """Its part of a checkpoint, beside the weights that are trained."""
        return {"average": self._values} if self.is_kept else {}

    def load_state_dict(self, state: dict) -> None:
        """Go on from a checkpoint. Raises KeyError where that has no such average."""
        _copy({name: state["average"][name] for name in self._values}, self._values)


@torch.no_grad()
def _copy(source: dict[str, torch.Tensor], target: dict[str, torch.Tensor]) -> None:
    for name, value in source.items():
        target[name].copy_(value)
