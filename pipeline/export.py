"""Stage export: make a trained sparse network small, and say what that is worth.

    python -m pipeline.export run=FOLDER [out=DIR]

FOLDER is any finished run, e.g. runs/pretrain/<run> or runs/sparse/<run>. Cuts its pruned filters out and writes
model.onnx (the smaller network), packed.safetensors (weights and masks, nothing rounded) and summary.json: parameters,
FLOPs, latency and bytes before and after. DIR is runs/export/<run> for a run of the pretrain stage, else
exports/<stage>/<run>. Needs the packages of requirements-export.txt, which `make setup` installs.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from granet.deploy.latency import latencies
from granet.deploy.onnx import onnx_outputs, to_onnx
from granet.deploy.packed import save_packed
from granet.deploy.shrink import shrink
from granet.flops import inference_flops
from granet.models import build
from granet.training.run import pick_device
from granet.types import Masks, Tensors, UserError
from pipeline.cli import run_main
from pipeline.training.environment import git, hardware

BATCH_SIZES = (1, 128)
IMAGE_SIZE = 32
"""Height and width of every dataset's images but an imagefolder's, whose size the run's configuration states."""
COMPARED = 16
"""Random images on which outputs are compared."""


@dataclass(frozen=True)
class Finished:
    """A finished run: its summary, weights and buffers, and masks."""

    summary: dict[str, Any]
    weights: Tensors
    masks: Masks

    @property
    def config(self) -> dict[str, Any]:
        """The configuration it was trained by."""
        return self.summary["config"]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of its images."""
        size = self.config["data"]["image_size"] or IMAGE_SIZE
        return (3, size, size)

    def model(self) -> nn.Module:
        """The trained network, on the CPU and in eval mode."""
        model = build(self.config["model"], num_classes=len(self.weights["fc.weight"]))
        model.load_state_dict(self.weights)
        return model.eval()


def main(arguments: Sequence[str]) -> None:
    """Export one run."""
    folder, out = parse(arguments)
    run = read(folder)
    if out is None:
        stage, name = run.config["stage"], run.summary["name"]
        out = Path("runs/export" if stage == "pretrain" else f"exports/{stage}") / name
    model = run.model()
    shrunk = shrink(model, run.masks)
    out.mkdir(parents=True, exist_ok=True)
    to_onnx(shrunk, out / "model.onnx", run.image_shape)
    packed = save_packed(out / "packed.safetensors", run.weights, run.masks)
    plain = (folder / "model.safetensors").stat().st_size
    summary = {
        "name": run.summary["name"],
        "run": str(folder),
        "dataset": run.config["dataset"],
        "model": run.config["model"],
        "network": run.config.get("network"),
        "seed": run.config["seed"],
        **compare(model, shrunk, out / "model.onnx", run.image_shape),
        "bytes": {"dense": plain, "packed": packed},
        "compression": plain / packed,
        "environment": {
            "hardware": hardware(pick_device("auto")),
            "torch": torch.__version__,
            "git_revision": git("rev-parse", "HEAD") or "none",
            "git_dirty": str(bool(git("status", "--porcelain", "--untracked-files=no"))).lower(),
        },
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    show(summary, out)


def parse(arguments: Sequence[str]) -> tuple[Path, Path | None]:
    """The run's folder, and where the results go; None: where they go by default."""
    given = {key: value for key, _, value in (text.partition("=") for text in arguments)}
    if unknown := sorted(set(given) - {"run", "out"}):
        raise UserError(f"{unknown[0]} is an unknown key of the export stage; it has run, out")
    if empty := [key for key, value in given.items() if not value]:
        raise UserError(f"{empty[0]} is empty; write {empty[0]}=FOLDER")
    if "run" not in given:
        raise UserError("run=FOLDER is missing: the folder of a finished run, e.g. run=runs/sparse/<run>")
    return Path(given["run"]), Path(given["out"]) if "out" in given else None


def read(folder: Path) -> Finished:
    """A finished run's files. Raises UserError where the folder is not one of a run."""
    if not folder.is_dir():
        raise UserError(f"run={folder} is no folder; name the folder of a finished run")
    for file in ("summary.json", "model.safetensors", "masks.safetensors"):
        if not (folder / file).exists():
            raise UserError(f"run={folder} is no finished run: it has no {file}")
    try:
        run = Finished(
            json.loads((folder / "summary.json").read_text()),
            load_file(folder / "model.safetensors"),
            load_file(folder / "masks.safetensors"),
        )
        run.model()
    except (ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"run={folder} cannot be read: {reason}; train it again") from None
    return run


def compare(
    model: nn.Module, shrunk: nn.Module, onnx: Path, image_shape: tuple[int, int, int]
) -> dict[str, Any]:
    """Parameters, FLOPs, latencies and outputs of the masked network and its shrunk copy.

    Outputs are compared in fp32 on the CPU. Latencies are of the device that training would take; where nothing was
    cut out there are none, as the two networks are one.
    """
    images_NCHW = torch.randn(COMPARED, *image_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        masked, smaller = model(images_NCHW), shrunk(images_NCHW)
    both = {"dense": model, "shrunk": shrunk}
    parameters = {key: sum(value.numel() for value in net.parameters()) for key, net in both.items()}
    times = {}
    if parameters["shrunk"] < parameters["dense"]:
        nets = [net.to(pick_device("auto")) for net in both.values()]
        for batch_size in BATCH_SIZES:
            seconds = latencies(nets, image_shape, batch_size)
            times[str(batch_size)] = {key: 1000 * value for key, value in zip(both, seconds, strict=True)}
    return {
        "parameters": parameters,
        "flops": {key: inference_flops(net, image_shape).total for key, net in both.items()},
        "latency_ms": times,
        "max_difference": float((smaller - masked).abs().max()),
        "onnx_max_difference": float((onnx_outputs(onnx, images_NCHW) - smaller).abs().max()),
    }


def show(summary: dict[str, Any], out: Path) -> None:
    """Print what was gained as a table, and what it means."""
    table = Table("", title=f"{summary['name']}, {summary['environment']['hardware']}", title_justify="left")
    for head in ("masked", "exported", "ratio"):
        table.add_column(head, justify="right")

    def row(label: str, values: dict[str, float], form: str) -> None:
        before, after = values.values()
        table.add_row(label, f"{before:{form}}", f"{after:{form}}", f"{before / after:.2f} x")

    row("parameters", summary["parameters"], ",")
    row("FLOPs of one image", summary["flops"], ",")
    for batch_size, times in summary["latency_ms"].items():
        row(f"latency at batch {batch_size}, ms", times, ",.2f")
    row("weights on disk, bytes", summary["bytes"], ",")
    console = Console()
    console.print(table)
    if summary["latency_ms"]:
        console.print(
            "Masks only simulate sparsity: the masked network computes with its zeros, as slowly as a dense one. "
            "Shrinking cuts the pruned filters out; that is what is really faster."
        )
    else:
        console.print(
            "Nothing can be cut out: no whole filter is pruned, and masks over single weights only simulate sparsity. "
            "The network is as fast as a dense one; only its file is smaller."
        )
    console.print(
        f"Largest difference of an output: {summary['max_difference']:.1e} by shrinking, "
        f"{summary['onnx_max_difference']:.1e} by ONNX."
    )
    console.print(f"Written to {out}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    run_main(main, __doc__, sys.argv[1:])
