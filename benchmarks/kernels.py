"""Sparse arithmetic against dense, whole steps on this machine: how many times as fast, side by side in one process.

    python -m benchmarks.kernels [--pairs N]

Dense is the pipeline's own way: channels_last, in bf16 where the processor computes in it. Sparse has the same
precision. Masks are random with ERK's layers. Training steps are `accelerate`'s, also beside sparseprop's (fp32,
AVX2) where it is installed; forwards are `compile_sparse`'s, also beside onnxruntime (dense, fp32). The two take
turns; the table has the median of the pairs' ratios and their quartiles, and is written to reports/kernels.json.
Outputs are compared first, in fp32 and in bf16: where sparse ones are further from dense fp32 than they may be
there is no row, but an error.
"""

import argparse
import copy
import importlib
import io
import json
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.pairs import compare, hardware, timed
from granet.deploy.compiled import compile_sparse
from granet.deploy.onnx import open_onnx, to_onnx
from granet.distributions import erk
from granet.flops import inference_flops
from granet.kernels import accelerate
from granet.maskable import maskable_weights
from granet.masks import apply_
from granet.models import build
from granet.training.device import pick_precision
from granet.types import Masks

STEPS = (
    ("vgg19", 0.95, 128),
    ("vgg19", 0.98, 128),
    ("resnet20", 0.95, 128),
    ("resnet20", 0.98, 128),
    ("resnet50_cifar", 0.98, 128),
)
FORWARDS = tuple(("vgg19", sparsity, batch) for sparsity in (0.95, 0.98) for batch in (1, 32, 128))
TOLERANCE = 1e-3
"""Of sparse logits to dense ones in fp32, relative to their norm."""
PRECISION = pick_precision("auto", torch.device("cpu"))


def pair(name: str, sparsity: float) -> tuple[nn.Module, nn.Module, Masks, float]:
    """A masked network, the same on the sparse kernels, their masks, and their share of the dense FLOPs."""
    torch.manual_seed(0)
    model = build(name, num_classes=10)
    weights = {key: weight.detach() for key, weight in maskable_weights(model).items()}
    layers = erk({key: tuple(weight.shape) for key, weight in weights.items()}, sparsity)
    masks = {key: torch.rand(weight.shape) >= layers[key] for key, weight in weights.items()}
    apply_(weights, masks)
    flops = inference_flops(model, (3, 32, 32))
    model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    sparse = copy.deepcopy(model)
    accelerate(sparse, masks)
    return model, sparse, masks, flops.at(layers).total / flops.total


def forward(model: nn.Module, images: Tensor) -> Tensor:
    """Logits as training computes them."""
    with torch.autocast("cpu", torch.bfloat16, enabled=PRECISION == "bf16"):
        return model(images)


def check_outputs(dense: nn.Module, sparse: nn.Module, images: Tensor) -> None:
    """Raises AssertionError where the two compute something else than each other, but for rounding."""

    def distance(outputs: Tensor) -> float:
        return float((outputs.float() - exact).norm() / exact.norm())

    with torch.no_grad():
        exact = copy.deepcopy(dense)(images)
        plain = distance(copy.deepcopy(sparse)(images))
        ours, theirs = (distance(forward(copy.deepcopy(net), images)) for net in (sparse, dense))
    assert plain < TOLERANCE, f"outputs differ by {plain:.1e}"
    assert ours < max(TOLERANCE, 2 * theirs), (
        f"{PRECISION} outputs differ by {ours:.1e}, dense by {theirs:.1e}"
    )


def step_of(model: nn.Module, masks: Masks, images: Tensor, labels: Tensor) -> Callable[[], None]:
    """One optimizer step of training with fixed masks."""
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
    weights = maskable_weights(model)

    def step() -> None:
        nn.functional.cross_entropy(forward(model, images).float(), labels).backward()
        apply_({name: weight.grad for name, weight in weights.items() if weight.grad is not None}, masks)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def sparseprop_of(model: nn.Module, images: Tensor) -> Callable[[], None] | None:
    """A step of the same network with sparseprop's layers wherever it finds them faster; None where it is not there."""
    try:
        swap = importlib.import_module("sparseprop.utils").swap_modules_with_sparse
    except ImportError:
        return None
    images = images.contiguous()
    with redirect_stdout(io.StringIO()):
        network = swap(copy.deepcopy(model).to(memory_format=torch.contiguous_format), images.shape)
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
    labels = torch.randint(10, (len(images),))

    def step() -> None:
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def onnx_of(model: nn.Module, images: Tensor) -> Callable[[], object]:
    """The dense network in onnxruntime, fp32, as many threads."""
    with tempfile.TemporaryDirectory() as folder:
        to_onnx(model, Path(folder) / "model.onnx", (3, 32, 32))
        session = open_onnx(Path(folder) / "model.onnx")
    values = {session.get_inputs()[0].name: images.contiguous().numpy()}
    return lambda: session.run(None, values)


def rows(pairs: int) -> list[dict]:
    """All measurements."""
    measured = []
    for kind, settings in (("training step", STEPS), ("forward", FORWARDS)):
        for name, sparsity, batch in settings:
            dense, sparse, masks, share = pair(name, sparsity)
            images = torch.randn(batch, 3, 32, 32).contiguous(memory_format=torch.channels_last)
            if kind == "forward":
                forward(dense, torch.randn(64, 3, 32, 32))  # some statistics for BatchNorm
                sparse = compile_sparse(dense.eval(), masks)
            check_outputs(dense, sparse, images)
            if kind == "forward":
                calls = [torch.no_grad()(lambda m=m, x=images: forward(m, x)) for m in (dense, sparse)]
            else:
                labels = torch.randint(10, (batch,))
                calls = [step_of(model, masks, images, labels) for model in (dense, sparse)]
            row = compare(kind, timed(calls[0]), timed(calls[1]), pairs)
            other = onnx_of(dense, images) if kind == "forward" else sparseprop_of(dense, images)
            others = compare(kind, timed(other), timed(calls[1]), pairs).ratio if other else None
            measured.append(
                {"what": kind, "model": name, "sparsity": sparsity, "batch": batch, "flops": share}
                | {
                    "dense_s": row.first_s,
                    "sparse_s": row.second_s,
                    "ratio": row.ratio,
                    "quartiles": row.quartiles,
                    "onnxruntime_ratio" if kind == "forward" else "sparseprop_ratio": others,
                }
            )
    return measured


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=9, help="of steps per row")
    pairs = parser.parse_args().pairs
    table = Table(title=f"dense {PRECISION} / sparse, {torch.get_num_threads()} threads, {pairs} pairs")
    for heading in (
        "",
        "model",
        "sparsity",
        "batch",
        "FLOPs",
        "dense ms",
        "sparse ms",
        "ratio",
        "quartiles",
        "onnxruntime",
        "sparseprop",
    ):
        table.add_column(heading, justify="left" if heading in ("", "model") else "right")
    measured = rows(pairs)
    for row in measured:
        times = (f"{1e3 * row['dense_s']:.1f}", f"{1e3 * row['sparse_s']:.1f}", f"{row['ratio']:.2f}")
        low, high = row["quartiles"]
        setting = (f"{row['sparsity']:.0%}", str(row["batch"]), f"{row['flops']:.3f}")
        others = [row.get(f"{name}_ratio") for name in ("onnxruntime", "sparseprop")]
        table.add_row(
            row["what"],
            row["model"],
            *setting,
            *times,
            f"{low:.2f} to {high:.2f}",
            *("" if ratio is None else f"{ratio:.2f}" for ratio in others),
        )
    Console(width=120).print(table)
    out = Path("reports/kernels.json")
    out.parent.mkdir(exist_ok=True)
    about = {"hardware": hardware(), "precision": PRECISION, "pairs": pairs}
    out.write_text(json.dumps(about | {"rows": measured}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
