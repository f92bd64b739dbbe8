"""The paper's protocol: how ours departs from it, and what its schedule on ImageNet costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

from granet.clock import Clock
from granet.distributions import LayerSparsity, erk, uniform
from granet.flops import training_flops
from granet.methods import METHODS
from granet.studies.budget import Outline
from pipeline.params.schema import Params
from pipeline.report.paper.numbers import (
    IMAGENET,
    INFERENCE,
    TRAINING,
    family_of,
    in_print,
    models,
    records,
    rows,
)
from pipeline.report.results import Results, once


def protocol(dataset: str) -> dict[str, Any]:
    """How the paper trains on a data set; empty where it has none of its results."""
    return in_print()["protocols"].get(dataset, {})


def settings() -> list[tuple[str, str]]:
    """The rows of Table 1: (model, data set)."""
    places = [(row, model, dataset) for row, dataset, model, *_ in records() if dataset != IMAGENET]
    return [(model, dataset) for row, model, dataset in places if row == "dense"]


def differences(results: Results, dataset: str, *, methods: bool = True) -> list[str]:
    """How the runs on a data set depart from the paper's protocol, one phrase each; the number of seeds aside.

    Without ``methods``: the settings of the grid's methods do not count.
    """
    params, runs, printed = results.params, results.on(dataset), protocol(dataset)
    if runs.empty or not printed:
        return []
    train = vars(params.train) | {"epochs": params.train.total_epochs}
    pairs = [(key, train[key], value) for key, value in printed["train"].items()]
    same_batch = train["batch_size"] == printed["train"]["batch_size"]
    texts = {key: once(runs[key].tolist(), "{:,}".format) for key in ("num_train", "num_test")}
    texts["image_size"] = str(params.data.image_size or "")
    texts["images_per_norm"] = str(params.train.images_per_norm) if same_batch else ""
    if methods:
        steps_per_epoch = -(-int(runs["num_train"].iloc[0]) // train["batch_size"])
        texts |= _times(params, steps_per_epoch, dataset)
    pairs += [(key, ours, f"{printed[key]:,}") for key, ours in texts.items() if ours and key in printed]
    return [_phrase(key, ours, value) for key, ours, value in pairs if ours != value]


def _phrase(key: str, ours: Any, printed: Any) -> str:
    text = in_print()["departures"]["fewer_epochs" if key == "epochs" and ours < printed else key]
    text = text.format(ours=ours, printed=printed, used="with" if ours else "without")
    return text.replace("every 1 steps", "every step")


def _times(params: Params, steps_per_epoch: int, dataset: str) -> dict[str, str]:
    """When masks are updated and pruning ends, of the rows that the paper's authors trained and the grid has."""
    intervals, ends = [], []
    for row in rows(family_of(dataset)).values():
        section = None if row.quoted or row.stage in ("dense", "reinit") else row.find(params)
        if section is None:
            continue
        method = params.method(section, params.grid.sparsities[0], steps_per_epoch)
        intervals += [f"{method.update_interval:,}"] if method.update_interval else []
        if (phase := method.prune) is not None:
            epochs = params.train_config(section).total_epochs
            tf = phase.auto * epochs * steps_per_epoch if phase.tf is None else phase.tf
            ends.append(f"{round(tf / steps_per_epoch, 1):g}")
    found = {"update_interval": intervals, "pruning_epochs": ends}
    return {key: " or ".join(dict.fromkeys(texts)) for key, texts in found.items()}


def seeds_missing(params: Params) -> list[str]:
    """The same for the number of seeds: on ImageNet the paper has one."""
    num_seeds = len(params.grid.seeds)
    printed = protocol(IMAGENET if params.grid.datasets == [IMAGENET] else "cifar10")["seeds"]
    return [f"{num_seeds} of {printed} seeds"] if num_seeds < printed else []


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


def sweep(outline: Outline, initial: Sequence[float], sf: float) -> list[Planned]:
    """FLOPs of GraNet by initial sparsity, up to ``sf`` (Table 4), from its schedule on ImageNet: nothing is trained.

    The schedule says how sparse the network is at every step, but not which layers are: global pruning learns that. So
    every step is counted twice, under two assumptions: layer sparsities as ERK has them, or the same one in all layers.
    Raises UserError for sparsities that GraNet cannot have.
    """
    schedule, planned = protocol(IMAGENET), []
    steps_per_epoch = -(-schedule["num_train"] // schedule["train"]["batch_size"])
    total, tf = schedule["train"]["epochs"] * steps_per_epoch, schedule["pruning_epochs"] * steps_per_epoch
    assumed: dict[str, LayerSparsity] = {"erk": erk, "uniform": uniform}
    for (name, layer_sparsity), si in product(assumed.items(), initial):
        method = METHODS["granet"](sf=sf, si=si, tf=tf, update_interval=schedule["update_interval"])
        ratios = planned_ratios(outline, Clock(method, total), layer_sparsity, total)
        granet = {"method": "granet", "si": si}
        row = next((name for name, row in rows(IMAGENET).items() if row.is_section(granet)), "")
        keys = [(row, IMAGENET, models(IMAGENET)[0], sf, metric) for metric in (TRAINING, INFERENCE)]
        planned.append(
            Planned(si, sf, name, *ratios, *(record and record.mean for record in map(records().get, keys)))
        )
    return planned
