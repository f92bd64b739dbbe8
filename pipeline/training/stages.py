"""The stages that are made of the grid, a row each: what names a run, what it starts from, and how it starts.

Those with a ``start`` are trained by `python -m pipeline.train STAGE`; plasticity and export are commands of their own.
dvc.yaml says the same of files and lists; a test compares the two.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from granet.common.seeds import stable_seed
from granet.maskable import EVERY_LAYER, Choice
from granet.method import Method
from granet.methods import fixed
from granet.models import build
from granet.studies.plasticity import static
from granet.training.soup import soup as mean_of
from granet.types import Build, Tensors, UserError
from pipeline.training.folder import CHECKPOINTS, MASKS, METRICS, MODEL, SUMMARY, RunFolder


@dataclass(frozen=True)
class Start:
    """What a stage may use to decide where its run starts: the keys of its cell, and what they lead to.

    ``method`` is that of the cell's section, if it has one, and ``source`` the finished run that this one starts from.
    """

    seed: int
    build: Build
    method: Callable[[], Method]
    source: RunFolder
    rewind: str | None = None
    network: str | None = None
    begun: float | None = None
    """The sparsity of the network that a chain goes on from; None: it is the dense one."""
    members: Sequence[RunFolder] = ()
    """The finished runs that a soup is made of."""
    choice: Choice = EVERY_LAYER
    """Which layers params.yaml has masked."""


@dataclass(frozen=True)
class Setup:
    """What a stage trains, and which layers are masked.

    ``rewind_to``: the state_dict that a method with rounds goes back to. ``flops_before``: what the training of the
    network that an after-training method starts from has cost; None: that of the dense network.
    """

    model: nn.Module
    method: Method
    choice: Choice = EVERY_LAYER
    rewind_to: Tensors | None = None
    flops_before: int | None = None


@dataclass(frozen=True)
class Stage:
    """One stage. ``keys`` name its runs, in this order. ``methods`` and ``networks``: the grid's lists of its runs.

    ``along``: a key of the grid whose entries are runs of one stage of DVC, one after another in a folder each.

    ``source``: the stage whose finished run of the same cell it starts from, and ``reads`` what it reads there.
    """

    keys: tuple[str, ...]
    start: Callable[[Start], Setup] | None = None
    methods: str | None = None
    networks: str | None = None
    own_schedule: bool = False
    """Whether its method's section says how long it trains; else it is the common schedule, as the dense run's."""
    source: str | None = None
    reads: tuple[str, ...] = ()
    along: str | None = None


def scratch(start: Start) -> Setup:
    """Train with a section's method from new weights: the dense baseline, or a sparse-training method."""
    return Setup(start.build(start.seed), start.method(), start.choice)


def after(start: Start) -> Setup:
    """Prune the trained dense network, and train on (one-shot, OBD, IMP, SIS); a rewind goes to its initial weights."""
    model = start.build(start.seed)
    initial = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(start.source.weights(model))
    return Setup(model, start.method(), start.choice, rewind_to=initial)


def chain(start: Start) -> Setup:
    """Prune on: the trained dense network at the lowest sparsity of the grid, then the network of the one before."""
    setup = after(start)
    if start.begun is None:
        return setup
    return replace(setup, flops_before=start.source.summary.flops["training"])


def soup(start: Start) -> Setup:
    """The mean of the retrainings of one mask; dense training has been paid for once."""
    model, folders = start.build(start.seed), start.members
    masks = [folder.masks(model, start.choice) for folder in folders]
    for folder, other in zip(folders, masks, strict=True):
        if any(not torch.equal(mask, other[name]) for name, mask in masks[0].items()):
            raise UserError(f"{folder.path / MASKS} is not the mask of {folders[0].path}, which a soup needs")
    model.load_state_dict(mean_of([folder.weights(model) for folder in folders], masks[0]))
    flops = [folder.summary.flops for folder in folders]
    again = sum(each["training_dense"] for each in flops[1:])
    return Setup(
        model,
        fixed(masks[0]),
        start.choice,
        flops_before=sum(each["training"] for each in flops) - again,
    )


def reinit(start: Start) -> Setup:
    """Keep a sparse run's final mask, draw new random weights, train again: does the mask alone explain the accuracy?

    Section 4.6 and Figure 4 of GraNet.
    """
    model = start.build(stable_seed("reinit", start.seed))
    return Setup(model, fixed(start.source.masks(model, start.choice)), start.choice)


def retrain(start: Start) -> Setup:
    """Keep a sparse run's final mask and train again from rewound weights (Section 4.7 and Table 6 of GraNet).

    lth: the run's own initial weights, the lottery ticket hypothesis (Frankle & Carbin 2019); lrr: its final weights,
    so that only the learning rate is rewound (Renda et al. 2020).
    """
    model = start.build(start.seed)
    if start.rewind == "lrr":
        model.load_state_dict(start.source.weights(model))
    elif start.rewind != "lth":
        raise UserError(f"rewind={start.rewind!r} is unknown; choose from lth, lrr")
    return Setup(model, fixed(start.source.masks(model, start.choice)), start.choice)


def pretrain(start: Start) -> Setup:
    """Train a network of the plasticity study under static masks.

    network: element-0.9 has random masks over single weights, filter-0.5 over whole filters, every layer alike.
    """
    assert start.network is not None
    model = start.build(start.seed)
    return Setup(model, static(start.network, model, start.choice), start.choice)


def builder(model: str, num_classes: int, init: str | None = None, image_size: int | None = None) -> Build:
    """Seed -> a new model of that name; the same seed gives the same weights, whatever was drawn before."""

    def build_from_seed(seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stable_seed("init", seed))
            return build(model, num_classes=num_classes, init=init, image_size=image_size)

    return build_from_seed


CELL = ("dataset", "model", "method", "sparsity", "seed")
NETWORK = ("dataset", "model", "network", "seed")
STAGES: dict[str, Stage] = {
    "dense": Stage(("dataset", "model", "seed"), scratch),
    "pretrain": Stage(NETWORK, pretrain, networks="pretrain"),
    "sparse": Stage(CELL, scratch, methods="methods", own_schedule=True),
    "after": Stage(CELL, after, methods="after", own_schedule=True, source="dense", reads=(MODEL,)),
    "chain": Stage(
        ("dataset", "model", "method", "seed"),
        chain,
        methods="chains",
        own_schedule=True,
        source="dense",
        reads=(MODEL,),
        along="sparsity",
    ),
    "member": Stage(
        (*CELL, "member"), after, methods="soups", own_schedule=True, source="dense", reads=(MODEL,)
    ),
    "soup": Stage(CELL, methods="soups", own_schedule=True, reads=(MASKS, MODEL)),
    "reinit": Stage(CELL, reinit, methods="reinit", source="sparse", reads=(MASKS,)),
    "retrain": Stage((*CELL, "rewind"), retrain, methods="retrain", source="sparse", reads=(MASKS, MODEL)),
    "plasticity": Stage(
        NETWORK, networks="pretrain", source="pretrain", reads=(MODEL, MASKS, METRICS, SUMMARY, CHECKPOINTS)
    ),
    "export": Stage(NETWORK, networks="export", source="pretrain", reads=(MODEL, MASKS, SUMMARY)),
}
