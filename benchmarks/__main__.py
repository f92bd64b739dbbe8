"""Ratios on this machine, measured side by side: loaders, the cost of sparsity in a step, a mask update, and what
cutting filters out gains.

    python -m benchmarks

Prints a table and writes it to reports/benchmarks.json. Nothing here is compared over machines.
"""

import copy
import json
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from rich.console import Console
from rich.table import Table

from granet import METHODS, Sparsifier
from granet.data import DataConfig, build_loader, prepare
from granet.deploy.latency import latencies
from granet.deploy.shrink import shrink
from granet.flops import inference_flops
from granet.models import build
from granet.studies.plasticity import static

BATCH, REPEATS = 128, 7


def seconds(call: Callable[[], object]) -> float:
    """Median time of a call, after one that does not count."""
    call()
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return median(times)


def loaders(folder: Path) -> dict[str, float]:
    """Images per second of an epoch of the digits, by loader."""
    prepare("digits", folder, DataConfig())
    rates = {}
    for kind in ("resident", "ffcv"):
        loader = build_loader(
            kind, folder / "train.beton", batch_size=BATCH, seed=0, shuffle=True, device="cpu"
        )
        rates[f"loader {kind}, images/s"] = loader.num_images / seconds(lambda it=loader: list(it.epoch(0)))
    return rates


def steps(model_name: str) -> dict[str, float]:
    """A training step with masks, relative to the dense step, and one mask update in dense steps."""
    images = torch.randn(BATCH, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(10, (BATCH,))

    def step_time(method: str, **values: float) -> tuple[float, float]:
        model = build(model_name, num_classes=10).to(memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, nesterov=True)
        sparsifier = Sparsifier(model, optimizer, METHODS[method](**values), seed=0, total_steps=10**6)

        def step() -> None:
            torch.nn.functional.cross_entropy(model(images), labels).backward()
            sparsifier.after_backward()
            optimizer.step()
            sparsifier.after_step()
            optimizer.zero_grad(set_to_none=True)

        plain = seconds(step)
        interval = sparsifier.method.update_interval
        if interval is None:
            return plain, 0.0
        updates = []
        for _ in range(3):
            sparsifier.step = interval - 1  # the next step updates the masks
            started = time.perf_counter()
            step()
            updates.append(time.perf_counter() - started)
        return plain, median(updates) - plain

    dense, _ = step_time("dense")
    granet, update = step_time("granet", sf=0.9, si=0.5)
    return {
        f"{model_name}: step with masks / dense step": granet / dense,
        f"{model_name}: mask update / dense step": update / dense,
    }


def shrunk(model_name: str, sparsity: float) -> dict[str, float]:
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
    } | {f"latency at batch {n}": latencies(nets, image_shape, n, time_s=10) for n in (1, BATCH)}
    label = f"{model_name} without {sparsity:.0%} of its filters"
    return {f"{label}: {what}, dense / shrunk": before / after for what, (before, after) in sizes.items()}


def main() -> None:
    """Measure, print and write."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        results = loaders(Path(folder))
    for model_name in ("resnet20", "vgg19"):
        results |= steps(model_name)
    results |= shrunk("vgg19", 0.5)
    hardware = f"{platform.machine()} CPU, {torch.get_num_threads()} threads, torch {torch.__version__}"
    table = Table("what", "value", title=f"{hardware}; medians of {REPEATS} or more")
    for name, value in results.items():
        table.add_row(name, f"{value:,.3g}" if value < 1000 else f"{value:,.0f}")
    Console().print(table)
    out = Path("reports/benchmarks.json")
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps({"hardware": hardware, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
