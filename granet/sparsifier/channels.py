"""Channels that a run removes for good: which are left, which go next, and where weights may be without them."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from granet.common.granularity import ChannelGroup, Granularity, filters
from granet.common.optimizers import is_element_wise, same_shaped
from granet.distributions import budget
from granet.masks import shapes
from granet.method import ChannelPrune
from granet.sparsifier.coupling import groups_within
from granet.sparsifier.cutting import resize_, scatter, select
from granet.types import Masks, Shapes, Tensors, UserError


@dataclass(frozen=True)
class Channels:
    """A value: what is left of the channels of a network. Without groups: of a method that removes none."""

    groups: tuple[ChannelGroup, ...] = ()
    """As they were at step 0."""
    shapes: Shapes = field(default_factory=dict)
    """Of all maskable weights at step 0."""
    index: Tensors = field(default_factory=dict)
    """Group -> the numbers, from step 0, of the channels that the tensors have; others are cut out of them."""
    alive: Masks = field(default_factory=dict)
    """Group -> which of these are left, on the CPU."""

    @property
    def unit(self) -> Granularity:
        """Whole channels: a filter with its BatchNorm and the columns that read it."""
        return filters(self.groups)

    @property
    def num_removed(self) -> int:
        """Channels that are gone since step 0; those of a residual sum count once."""
        return sum(group.size - int(self.alive[group.name].sum()) for group in self.groups)

    def room(self, masks: Masks) -> Masks:
        """Where weights may be: everywhere but in filters that are removed and in columns that read them."""
        device = next(iter(masks.values())).device
        alive = {name: mask.to(device) for name, mask in self.alive.items()}
        return self.unit.expand(alive, alive, masks)

    def sparsity_of(self, sparsity: float, masks: Masks) -> float:
        """What leaves as many weights of these masks as ``sparsity`` does of the network of step 0."""
        size = sum(mask.numel() for mask in masks.values())
        is_whole = not self.groups or size == budget(self.shapes, 0.0)
        return sparsity if is_whole else 1 - budget(self.shapes, sparsity) / size

    def without(
        self, phase: ChannelPrune, share: float, scores: Tensors, masks: Masks, num_active: int
    ) -> "Channels":
        """Without the channels of the lowest scores, so that ``share`` of those of step 0 are removed.

        A channel's score is the mean of its filters' ``scores``, where there is room for weights. Fewer go where a
        place would keep too few (``phase.floor``), or where the rest could not hold ``num_active`` weights.
        """
        num = round(share * sum(group.size for group in self.groups)) - self.num_removed
        going = self._lowest(phase, self._means(scores, masks))[: max(0, num)]
        fits = bisect_left(
            range(1, len(going) + 1),
            True,
            key=lambda count: self._without(going[:count])._size() < num_active,
        )
        return self._without(going[:fits])

    def _means(self, scores: Tensors, masks: Masks) -> Tensors:
        sums = self.unit.pool(scores)
        sizes = self.unit.pool({name: mask.float() for name, mask in self.room(masks).items()})
        return {name: sums[name] / sizes[name] for name in sums}

    def _lowest(self, phase: ChannelPrune, scores: Tensors) -> list[tuple[str, int]]:
        """(group, place) of all channels that may go, the lowest score first; ties go by name and place."""
        spare = {
            group.name: int(self.alive[group.name].sum()) - phase.least(group.size) for group in self.groups
        }
        ranked = sorted(
            (score, name, place)
            for name, values in scores.items()
            for place, (score, left) in enumerate(
                zip(values.tolist(), self.alive[name].tolist(), strict=True)
            )
            if left
        )
        going = []
        for _, name, place in ranked:
            if spare[name] > 0:
                spare[name] -= 1
                going.append((name, place))
        return going

    def _without(self, going: list[tuple[str, int]]) -> "Channels":
        alive = {name: mask.tolist() for name, mask in self.alive.items()}
        for name, place in going:
            alive[name][place] = False
        return replace(
            self, alive={n: torch.tensor(left, dtype=torch.bool, device="cpu") for n, left in alive.items()}
        )

    def _size(self) -> int:
        """Weights that there is room for."""
        sides: dict[str, list[int]] = {name: [*shape] for name, shape in self.shapes.items()}
        for group in self.groups:
            left = int(self.alive[group.name].sum())
            for names, axis in ((group.outputs, 0), (group.inputs, 1)):
                for name in names:
                    sides[name][axis] = left
        return sum(torch.Size(shape).numel() for shape in sides.values())

    def shrunk(self) -> "Channels":
        """Once those that are removed are cut out."""
        alive = {name: mask[mask] for name, mask in self.alive.items()}
        return replace(self, index={name: self.index[name][self.alive[name]] for name in alive}, alive=alive)

    def whole(self) -> "Channels":
        """Once those that were cut out are back, as removed."""
        start = whole(self.groups, self.shapes)
        for name, mask in start.alive.items():
            mask.fill_(False)
            mask[self.index[name]] = self.alive[name]
        return start

    def state_dict(self) -> dict[str, Tensors]:
        """For a checkpoint: small tensors on the CPU."""
        return {"index": self.index, "alive": self.alive}

    def at(self, state: Mapping[str, Any]) -> "Channels":
        """These channels in the state of a Sparsifier. Raises UserError where that is of another model."""
        saved = state.get("channels", self.state_dict())  # a state of before there were channels has none
        sizes, index = {group.name: group.size for group in self.groups}, saved["index"]
        odd = [name for name, size in sizes.items() if name not in index or int(index[name].max()) >= size]
        if odd := odd or sorted(index.keys() - sizes.keys()):
            raise UserError(f"channels: this state is of another model or method; differing ones: {odd[0]}")
        alive = {name: mask.cpu() for name, mask in saved["alive"].items()}
        return replace(self, index={name: numbers.cpu() for name, numbers in index.items()}, alive=alive)


def channels_of(phase: ChannelPrune | None, model: nn.Module, weights: Tensors) -> Channels:
    """All channels of a network, without those of weights that are not masked, of which a method removes some.

    Raises UserError as `groups_within` does.
    """
    if phase is None:
        return Channels()
    return whole(tuple(groups_within(model, weights)), shapes(weights))


def whole(groups: tuple[ChannelGroup, ...], shapes: Shapes) -> Channels:
    """All of them."""
    index = {group.name: torch.arange(group.size, device="cpu") for group in groups}
    return Channels(groups, shapes, index, {name: numbers >= 0 for name, numbers in index.items()})


def cut_(model: nn.Module, optimizer: Optimizer, masks: Masks, before: Channels, after: Channels) -> None:
    """Cut out what ``after`` lacks of ``before``, also of the optimizer's state and of ``masks``.

    Raises UserError for an optimizer that is not known to be element-wise.
    """
    groups = [g for g in before.groups if len(after.index[g.name]) < len(before.index[g.name])]
    if groups and not is_element_wise(optimizer):
        raise UserError(
            f"shrink: the state of {type(optimizer).__name__} is not known to have the shapes of the weights alone, so "
            "it cannot be cut; leave shrink() out, or use SGD or AdamW"
        )
    kept = {g.name: torch.searchsorted(before.index[g.name], after.index[g.name]) for g in groups}
    resize_(model, groups, select(kept), _companions(model, optimizer, masks))


def put_back_(model: nn.Module, optimizer: Optimizer, masks: Masks, channels: Channels) -> Channels:
    """Put all back that was cut out of ``channels``, as zeros; returns the whole."""
    groups = [g for g in channels.groups if len(channels.index[g.name]) < g.size]
    sizes = {g.name: g.size for g in groups}
    resize_(model, groups, scatter(channels.index, sizes), _companions(model, optimizer, masks))
    return channels.whole()


def _companions(model: nn.Module, optimizer: Optimizer, masks: Masks) -> Callable[[str], Iterable[Tensor]]:
    states = same_shaped(optimizer, dict(model.named_parameters()))
    return lambda name: [*states[name], *([masks[name]] if name in masks else [])]
