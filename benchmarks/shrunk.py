"""What cutting filters out gains: size and latency of a network without half of its filters."""

import copy

import torch

from granet import Sparsifier
from granet.deploy.latency import latencies
from granet.deploy.shrink import shrink
from granet.flops import inference_flops
from granet.models import build
from granet.studies.plasticity import static


def shrunk(model_name: str, sparsity: float, batch: int) -> dict[str, float]:
    """A network without ``sparsity`` of the filters of every group, relative to the dense one: how much smaller."""
    dense, image_shape = build(model_name, num_classes=10), (3, 32, 32)
    masked = copy.deepcopy(dense)
    method = static(f"filter-{sparsity}", masked)
    optimizer = torch.optim.SGD(masked.parameters(), 0.01)
    sparsifier = Sparsifier(masked, optimizer, method, seed=0, total_steps=1)  # prunes
    nets = (dense, shrink(masked, sparsifier.masks))
    sizes = {
        "parameters": [sum(value.numel() for value in net.parameters()) for net in nets],
        "FLOPs": [inference_flops(net, image_shape).total for net in nets],
    } | {f"latency at batch {n}": latencies(nets, image_shape, n, time_s=10) for n in (1, batch)}
    label = f"{model_name} without {sparsity:.0%} of its filters"
    return {f"{label}: {what}, dense / shrunk": before / after for what, (before, after) in sizes.items()}
