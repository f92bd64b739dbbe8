"""What masks did over a run, in a file of its own: how sparse each layer is, and how far the masks have wandered.

Counted where masks change, read back once per epoch.
"""

from collections.abc import Callable
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from granet import masks as masks_
from granet.common.files import atomic
from granet.masks import on_host
from granet.sparsifier import Sparsifier
from granet.types import Masks

COLUMNS = ("epoch", "layer", "sparsity", "ever_active", "overlap_initial", "overlap_updates", "dead_channels")
ALL = "all"
"""In the place of a layer: the whole network."""


class Diagnostics:
    """Follows the masks of one run, and writes ``path`` after every epoch: a row per layer and one for the network.

    - ``sparsity``: as everywhere;
    - ``ever_active``: share of the weights that were active at some time (ITOP's R_s, Liu et al. 2021);
    - ``overlap_initial``: of the weights active now or at step 0, the share that is both (Jaccard's index);
    - ``overlap_updates``: the same of a mask and the one before it, the mean over the epoch's updates (network alone);
    - ``dead_channels``: rows of a weight, so filters of a convolution, without an active weight.

    ``tell`` hears (epoch, the network's row by name) after each. Dense runs have no rows, nor have methods that cut
    channels out while they train: their masks change shape. Where a threshold is learnt, only sparsities follow it.
    """

    def __init__(
        self,
        path: Path | None = None,
        tell: Callable[[int, dict[str, float]], object] = lambda epoch, row: None,
    ) -> None:
        self._path, self._tell = path, tell
        self._initial: Masks = {}
        self._ever: Masks = {}
        self._before: Masks = {}
        self._overlaps: list[Tensor] = []
        self._rows = ""

    def begin(self, sparsifier: Sparsifier, state: dict | None, *, writes: bool) -> None:
        """Start with the masks as they are, or go on from `state_dict`. ``writes``: one process of a run does."""
        self._path = self._path if writes else None
        if self._path is None or sparsifier.method.channels is not None:
            masks: Masks = {}
        else:
            masks = sparsifier.masks
        copies = [{name: mask.clone() for name, mask in masks.items()} for _ in range(3)]
        self._initial, self._ever, self._before = copies
        if state is not None and masks:
            shapes = masks_.shapes(masks)
            for own, packed in zip(copies, state["masks"], strict=True):
                for name, mask in masks_.unpack(packed, shapes).items():
                    own[name].copy_(mask)
            self._overlaps = list(state["overlaps"].to(next(iter(masks.values())).device))
        self._rows = state["rows"] if state is not None else ""
        self._write()  # no epoch may be left

    def after_update(self, masks: Masks) -> None:
        """Take in masks that have changed. Waits for no device."""
        if not self._ever:
            return
        both, either = [], []
        for name, before in self._before.items():
            both.append((before & masks[name]).sum())
            either.append((before | masks[name]).sum())
            self._ever[name].logical_or_(masks[name])
            before.copy_(masks[name])
        self._overlaps.append(torch.stack(both).sum() / torch.stack(either).sum().clamp(min=1))

    def after_epoch(self, epoch: int, sparsifier: Sparsifier) -> None:
        """Write the rows of an epoch, counted from 1."""
        if self._path is None:
            return
        if self._ever:
            layers, network = self._row(sparsifier)
            for name, row in {**layers, ALL: network}.items():
                cells = (f"{row[key]:.6g}" if key in row else "" for key in COLUMNS[2:])
                self._rows += ",".join([str(epoch), name, *cells]) + "\n"
            self._tell(epoch, network)
        self._write()

    def _write(self) -> None:
        if self._path is not None:
            atomic(self._path, (",".join(COLUMNS) + "\n" + self._rows).encode())

    def _row(self, sparsifier: Sparsifier) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
        """Layer -> its row, and the network's; asks the device twice."""
        masks, sparsities = sparsifier.masks, sparsifier.layer_sparsity
        counts = []
        for name, initial in self._initial.items():
            both, either = initial & masks[name], initial | masks[name]
            dead = ~masks[name].flatten(1).any(1)
            counts += [self._ever[name].sum(), both.sum(), either.sum(), dead.sum()]
        numbers, updates = on_host(counts), on_host(self._overlaps)
        self._overlaps = []
        layers, total = {}, [0, 0, 0, 0]
        for index, (name, mask) in enumerate(masks.items()):
            own = numbers[4 * index : 4 * index + 4]
            total = [one + other for one, other in zip(total, own, strict=True)]
            layers[name] = {"sparsity": sparsities[name]} | _shares(own, mask.numel())
        size = sum(prod(mask.shape) for mask in masks.values())
        network = {"sparsity": sparsifier.sparsity} | _shares(total, size)
        if updates:
            network["overlap_updates"] = sum(updates) / len(updates)
        return layers, network

    def state_dict(self) -> dict:
        """What a resumed run needs."""
        kept = [masks_.pack(masks) for masks in (self._initial, self._ever, self._before)]
        overlaps = torch.stack(self._overlaps).cpu() if self._overlaps else torch.empty(0)
        return {"masks": kept, "overlaps": overlaps, "rows": self._rows}


def _shares(counts: list[int], size: int) -> dict[str, float]:
    """Columns of counts: ever active, active in both, active in either, dead channels."""
    ever, both, either, dead = counts
    return {"ever_active": ever / size, "overlap_initial": both / max(either, 1.0), "dead_channels": dead}
