"""FLOPs of GraNet by its initial sparsity (Table 4), from the schedule alone: nothing is trained.

The schedule says how sparse the network is at every step, but not which layers are: global pruning learns that. So
every step is counted twice, under two assumptions: layer sparsities as ERK has them, or the same one in all layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from granet.clock import Clock
from granet.distributions import LayerSparsity, erk, uniform
from granet.flops import training_flops
from granet.methods import METHODS
from granet.studies.budget import Outline
from pipeline.report.paper.numbers import IMAGENET, INFERENCE, TRAINING, models, printed, rows
from pipeline.report.paper.protocol import protocol

ASSUMED: dict[str, LayerSparsity] = {"erk": erk, "uniform": uniform}


@dataclass(frozen=True)
class Planned:
    """FLOPs of one run as ratios to the dense network's, under an assumption on the layers; in print: learnt ones."""

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
    sparse: dict[float, int] = {}

    def flops(step: int) -> int:
        sparsity = clock.target(step)
        if sparsity not in sparse:
            sparse[sparsity] = outline.dense.at(layer_sparsity(outline.shapes, sparsity)).total
        return sparse[sparsity]

    for start in range(0, total_steps, interval):
        end, forward = min(start + interval, total_steps), flops(start)
        reads = clock.reads_gradient_at  # between updates too, where a momentum is dense
        segments += [(end - start - 1, forward, reads(start + 1)), (1, forward, reads(end))]
    dense_run = training_flops([(total_steps, dense, False)], dense)
    return training_flops(segments, dense) / dense_run, flops(total_steps) / dense


def sweep(outline: Outline, initial: Sequence[float], sf: float) -> list[Planned]:
    """GraNet from every initial sparsity to ``sf``, with the paper's schedule on ImageNet.

    Raises UserError for sparsities that GraNet cannot have.
    """
    in_print = protocol(IMAGENET)
    assert in_print is not None
    train = in_print["train"]
    steps_per_epoch = -(-in_print["num_train"] // train["batch_size"])
    total, tf = train["epochs"] * steps_per_epoch, in_print["pruning_epochs"] * steps_per_epoch
    planned = []
    for name, layer_sparsity in ASSUMED.items():
        for si in initial:
            method = METHODS["granet"](sf=sf, si=si, tf=tf, update_interval=in_print["update_interval"])
            ratios = planned_ratios(outline, Clock(method, total), layer_sparsity, total)
            planned.append(Planned(si, sf, name, *ratios, *_in_print(si, sf)))
    return planned


def _in_print(si: float, sf: float) -> tuple[float | None, float | None]:
    """The paper's training and test FLOPs of GraNet, where it has them."""
    section = {"method": "granet", "si": si}
    for row in rows(IMAGENET).values():
        if row.is_section(section):
            group = row.group(row.id, IMAGENET, models(IMAGENET)[0], sf)
            training, inference = printed(row, group, TRAINING), printed(row, group, INFERENCE)
            return training and training.mean, inference and inference.mean
    return None, None
