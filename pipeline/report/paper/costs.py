"""What the paper's schedule on ImageNet costs, nothing trained: FLOPs as ratios to the dense network's.

The schedule says how sparse a network is at every step, but not which layers are: global pruning learns that. So every
step is counted twice, under two assumptions: layer sparsities as ERK has them, or the same one in all layers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import torch

from granet.distributions import LayerSparsity, erk, uniform
from granet.flops import training_flops
from granet.methods import METHODS
from granet.models import build
from granet.sparsifier.clock import Clock
from granet.studies.budget import Outline, outline
from pipeline.report.paper.numbers import IMAGENET, INFERENCE, TRAINING, models, records, rows
from pipeline.report.paper.protocol import protocol

HALF = 0.005
"""Ratios have two decimals in print."""
ASSUMED: dict[str, LayerSparsity] = {"erk": erk, "uniform": uniform}


@cache
def outline_of(model: str, num_classes: int, image_shape: tuple[int, int, int]) -> Outline:
    """The outline of a model by name, given images of (C, H, W). Nothing is allocated: shapes decide."""
    with torch.device("meta"):
        return outline(build(model, num_classes=num_classes, image_size=image_shape[-1]), image_shape)


@dataclass(frozen=True)
class Planned:
    """FLOPs of GraNet as ratios to the dense network's, under an assumption on the layers; in print: learnt ones."""

    si: float
    sf: float
    assumed: str
    training: float
    inference: float
    training_in_print: float | None
    inference_in_print: float | None


def planned_ratios(
    outline: Outline, clock: Clock, layer_sparsity: LayerSparsity, total_steps: int
) -> tuple[float, float]:
    """Training and inference FLOPs of a gradual pruning, as ratios to a dense run of as many steps.

    After the update at step t the layers have ``layer_sparsity(shapes, clock.target(t))``; before the first one, that
    of step 0. Every step has as many images. Training FLOPs are those of `granet.flops.training_flops`.
    """
    interval, dense = clock.interval or total_steps, outline.dense.total
    segments: list[tuple[int, int, bool]] = []

    @cache
    def flops(sparsity: float) -> int:
        return outline.dense.at(layer_sparsity(outline.shapes, sparsity)).total

    for start in range(0, total_steps, interval):
        end, forward = min(start + interval, total_steps), flops(clock.target(start))
        reads = clock.reads_gradient_at  # between updates too, where a momentum is dense
        segments += [(end - start - 1, forward, reads(start + 1)), (1, forward, reads(end))]
    dense_run = training_flops([(total_steps, dense, False)], dense)
    return training_flops(segments, dense) / dense_run, flops(clock.target(total_steps)) / dense


def ratios(
    outline: Outline, section: Mapping[str, Any], sparsity: float, layers: LayerSparsity
) -> tuple[float, float]:
    """Training and inference FLOPs of a GraNet, GMP or RigL section under the paper's schedule on ImageNet.

    Ratios to a dense run of the schedule's own length: a longer run costs more. RigL has its ERK layers throughout.
    Raises UserError for sparsities that the method cannot have.
    """
    schedule, values = protocol(IMAGENET), dict(section)
    name, extend = values.pop("method"), values.pop("extend", 1.0)
    steps_per_epoch = -(-schedule["num_train"] // schedule["train"]["batch_size"])
    total = round(extend * schedule["train"]["epochs"] * steps_per_epoch)
    if name == "rigl":
        fixed = erk(outline.shapes, sparsity)
        layers = lambda shapes, target: fixed  # noqa: E731
    else:
        values["tf"] = schedule["pruning_epochs"] * steps_per_epoch
    method = METHODS[name](sf=sparsity, update_interval=schedule["update_interval"], **values)
    training, inference = planned_ratios(outline, Clock(method, total), layers, total)
    return extend * training, inference


@cache
def counted(name: str, sparsity: float) -> tuple[float, float] | None:
    """Lowest and highest training FLOPs of a row on ImageNet, counted step by step up to the printed test FLOPs.

    Layers lie as far between uniform and ERK ones as their test FLOPs in print do, which have two decimals. None where
    the paper does not tell enough: no test FLOPs, or another method's schedule.
    """
    section, model = rows(IMAGENET)[name].section, models(IMAGENET)[0]
    record = records().get((name, IMAGENET, model, sparsity, INFERENCE))
    if record is None or section["method"] not in ("granet", "gmp", "rigl"):
        return None
    size = protocol(IMAGENET)["image_size"]
    network = outline_of(model, 1000, (3, size, size))
    (most, erk_layers), (least, alike) = (ratios(network, section, sparsity, one) for one in ASSUMED.values())
    if erk_layers == alike:  # RigL: nothing is learnt
        return most, most
    edges = (record.mean - HALF, record.mean + HALF)
    shares = [min(1.0, max(0.0, (edge - alike) / (erk_layers - alike))) for edge in edges]
    return least + shares[0] * (most - least), least + shares[1] * (most - least)


def sweep(outline: Outline, initial: Sequence[float], sf: float) -> list[Planned]:
    """FLOPs of GraNet by initial sparsity, up to ``sf`` (Table 4), under both assumptions.

    Raises UserError for sparsities that GraNet cannot have.
    """
    planned = []
    for (name, layers), si in product(ASSUMED.items(), initial):
        section = {"method": "granet", "si": si}
        row = next((name for name, row in rows(IMAGENET).items() if row.is_section(section)), "")
        keys = [(row, IMAGENET, models(IMAGENET)[0], sf, metric) for metric in (TRAINING, INFERENCE)]
        in_print = [record and record.mean for record in map(records().get, keys)]
        planned.append(Planned(si, sf, name, *ratios(outline, section, sf, layers), *in_print))
    return planned
