"""Stage export: make a trained sparse network small, and say what that is worth.

    python -m pipeline.export run=FOLDER [out=DIR] [compile=true] [license=NAME]

FOLDER is any finished run, e.g. runs/pretrain/<run> or runs/sparse/<run>. Cuts out the channels that its masks make
needless, or says where of a network it is not known how to, and writes model.onnx (the smaller network),
packed.safetensors (weights and masks, nothing rounded), hub/ (the same weights with a model card, as granet.load_sparse
and the Hugging Face hub take them, and the masks alone, for METHODS["fixed"]) and summary.json: which channels went and
why; parameters, FLOPs, latency and bytes before and after; and the masked network's latency on the CPU, whole and by
layer, computed densely by torch and by onnxruntime, and by its active weights alone. compile=true: by torch.compile as
well, which takes half a minute. license=NAME stands in the card, "unknown" without it. DIR is runs/export/<run> for a
run of the pretrain stage, else exports/<stage>/<run>. Needs the packages of the extra 'export', which `make setup`
installs.
"""

import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table
from torch import nn

from granet.common.files import link_or_copy
from granet.deploy.artefact import save_sparse
from granet.deploy.card import MODEL as HUB_MODEL
from granet.deploy.card import Card
from granet.deploy.latency import latencies, layer_latencies
from granet.deploy.onnx import onnx_outputs, to_onnx
from granet.deploy.runtimes import runtimes
from granet.deploy.shrink import Cut, Shrunk, check_masks, shrunk
from granet.deploy.spare import REASONS
from granet.flops import inference_flops
from granet.inits.stored import save_masks
from granet.maskable import Choice
from granet.training.device import pick_device
from granet.types import Masks, UserError
from pipeline import cli, code
from pipeline.training.cell import RUNS
from pipeline.training.folder import MASKS, MODEL, SUMMARY, RunFolder
from pipeline.training.origin import hardware, provenance, versions
from pipeline.training.summary import Summary

BATCH_SIZES = (1, 16, 128)
COMPARED = 16
"""Random images on which outputs are compared, and layers timed."""
WHOLE = ("torch.compile", "onnxruntime")
"""Ways to run a network that have no layers of its names."""
IS_FASTER = (
    "Masks only simulate sparsity: torch computes with the zeros, as slowly as in a dense network. "
    "Shrinking cuts channels out: only that, or computing with the active weights alone, can be really faster."
)
IS_SMALLER = (
    "Nothing can be cut out: every channel is needed, and masks over single weights only simulate sparsity. "
    "In torch the network is as fast as a dense one; only its file is smaller."
)

IS_UNCUT = "Nothing is cut out: masks only simulate sparsity, and how to shrink this network is not known."


def main(arguments: Sequence[str]) -> None:
    """Export one run."""
    values, _ = cli.parse(arguments, ("run", "out", "compile", "license"), "the export stage")
    with_compiler = values.get("compile", "false")
    if with_compiler not in ("true", "false"):
        raise UserError(f"compile={with_compiler!r} must be true or false")
    if "run" not in values:
        raise UserError("run=FOLDER is missing: the folder of a finished run, e.g. run=runs/sparse/<run>")
    run = RunFolder(Path(values["run"]))
    summary = run.summary
    stage = summary.config["stage"]
    home = RUNS / "export" if stage == "pretrain" else Path("exports") / stage
    out = RunFolder(Path(values.get("out", home / summary.name)))
    model = run.model()
    masks = run.masks(model, choice_of(summary))
    try:
        check_masks(dict(model.named_parameters()), masks)
    except UserError as fault:
        raise UserError(f"run={run.path}: {fault}") from None
    smaller, unknown = cut(model, masks)
    hub = out.path / "hub"
    packed = save_sparse(
        hub,
        model,
        masks,
        card=card_of(summary, values.get("license", "unknown")),
        config={
            "model": summary.config["model"],
            "num_classes": summary.num_classes,
            "image_shape": summary.image_shape,
        },
    )
    link_or_copy(hub / HUB_MODEL, out.path / "packed.safetensors")
    save_masks(hub / MASKS, masks)
    to_onnx(smaller.model, out.path / "model.onnx", summary.image_shape)
    plain = run.file(MODEL).stat().st_size
    exported = {
        "name": summary.name,
        "run": str(run.path),
        **{key: summary.config.get(key) for key in ("dataset", "model", "network", "seed")},
        "channels": channels(smaller.cuts) | ({"unknown": unknown} if unknown else {}),
        **compare(model, smaller.model, out.path / "model.onnx", summary.image_shape),
        "runtimes": by_runtime(model, masks, summary.image_shape, with_compiler=with_compiler == "true"),
        "image_shape": summary.image_shape,
        "num_classes": summary.num_classes,
        "bytes": {"dense": plain, "packed": packed},
        "compression": plain / packed,
        "environment": {
            "hardware": hardware(pick_device("auto")),
            **versions(),
            **provenance(code.digest("export", None), summary.environment["data_md5"]),
        },
    }
    out.write_json(SUMMARY, exported)
    show(exported, out.path)


def card_of(summary: Summary, license: str) -> Card:
    """What the model card of a run says."""
    environment, config = summary.environment, summary.config
    return Card(
        name=summary.name,
        method=config.get("method") or config.get("network") or "dense",
        data=config["dataset"],
        accuracy=summary.accuracy,
        seeds=[config["seed"]],
        license=license,
        code=environment["code"],
        notes=f"{config['model']}, images (C, H, W) of {summary.image_shape}, {summary.num_classes} classes, "
        f"{summary.epochs} epochs. Git revision {environment['git_revision']}, md5 of the data "
        f"{environment['data_md5']}.",
    )


def choice_of(summary: Summary) -> Choice:
    """Which layers the run has masked."""
    keys = summary.config.get("train", {})
    return Choice.made(*(keys.get(name, ()) for name in ("include", "exclude", "dense")))


def cut(model: nn.Module, masks: Masks) -> tuple[Shrunk, str]:
    """The smaller network; or the same one, and where in it nobody knows which channels go together."""
    try:
        return shrunk(model, masks), ""
    except UserError as fault:
        return Shrunk(model, masks, []), str(fault).partition(";")[0]


def channels(cuts: Sequence[Cut]) -> dict[str, Any]:
    """Number of channels before and after; of those that went, by reason; the same of every group."""
    reasons = sum((Counter(cut.reasons) for cut in cuts), Counter())
    return {
        "dense": sum(cut.size for cut in cuts),
        "shrunk": sum(cut.kept for cut in cuts),
        "reasons": {key: reasons[key] for key in REASONS},
        "groups": [asdict(cut) for cut in cuts],
    }


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


def by_runtime(
    model: nn.Module, masks: Masks, image_shape: tuple[int, int, int], *, with_compiler: bool
) -> dict[str, Any]:
    """Latencies of the masked network on the CPU in ms, whole and by masked convolution, in every way it can be run.

    With the largest difference of an output to torch's in fp32. Without numbers, but with the reason, where the sparse
    kernels cannot be had.
    """
    with tempfile.TemporaryDirectory() as folder:
        onnx = Path(folder) / "dense.onnx"
        to_onnx(model, onnx, image_shape)
        try:
            ways = runtimes(model, masks, onnx, with_compiler=with_compiler)
        except UserError as fault:
            return {"reason": str(fault)}
    images_NCHW = torch.randn(COMPARED, *image_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        outputs = {name: net(images_NCHW) for name, net in ways.items()}
    in_layers = [name for name in ways if name not in WHOLE]
    layers = [name.removesuffix(".weight") for name, mask in masks.items() if mask.dim() == 4]
    by_layer = layer_latencies([ways[name] for name in in_layers], layers, image_shape, COMPARED)
    return {
        "latency_ms": {
            str(size): _milliseconds(ways, latencies(list(ways.values()), image_shape, size))
            for size in BATCH_SIZES
        },
        "layer_latency_ms": {layer: _milliseconds(in_layers, each) for layer, each in by_layer.items()},
        "max_difference": {
            name: float((output - outputs["fp32"]).abs().max()) for name, output in outputs.items()
        },
    }


def _milliseconds(names: Iterable[str], seconds: Iterable[float]) -> dict[str, float]:
    return {name: 1000 * value for name, value in zip(names, seconds, strict=True)}


def show(summary: dict[str, Any], out: Path) -> None:
    """Print what was gained as a table, and what it means."""
    columns = [Column(head, justify="right") for head in ("masked", "exported", "ratio")]
    title = escape(f"{summary['name']}, {summary['environment']['hardware']}")
    table = Table("", *columns, title=title, title_justify="left")
    times = summary["latency_ms"]
    counts = {key: summary["channels"][key] for key in ("dense", "shrunk")}
    rows = [
        *([("channels", counts, ",")] if counts["dense"] else []),
        ("parameters", summary["parameters"], ","),
        ("FLOPs of one image", summary["flops"], ","),
        *((f"latency at batch {size}, ms", both, ",.2f") for size, both in times.items()),
        ("weights on disk, bytes", summary["bytes"], ","),
    ]
    for label, both, form in rows:
        before, after = both.values()
        table.add_row(label, f"{before:{form}}", f"{after:{form}}", f"{before / after:.2f} x")
    console = Console()
    console.print(table)
    if times := summary["runtimes"].get("latency_ms"):
        names = next(iter(times.values()))
        fastest = "bf16" if "bf16" in names else "fp32"
        columns = [Column(name, justify="right") for name in names]
        title = f"Latency of the masked network on the CPU; in brackets, times as fast as dense {fastest}"
        by_way = Table("", *columns, title=title, title_justify="left")
        for size, each in times.items():
            cells = (f"{value:,.2f} ({each[fastest] / value:.2f})" for value in each.values())
            by_way.add_row(f"{size}, ms", *cells)
        console.print(by_way)
    why = [f"{number:,} {REASONS[key]}" for key, number in summary["channels"]["reasons"].items() if number]
    if why:
        console.print(f"Channels that went: {'; '.join(why)}.", highlight=False)
    if unknown := summary["channels"].get("unknown"):
        console.print(f"{IS_UNCUT} {unknown}.", highlight=False, markup=False)
    else:
        console.print(IS_FASTER if summary["latency_ms"] else IS_SMALLER)
    console.print(
        f"Largest difference of an output: {summary['max_difference']:.1e} by shrinking, "
        f"{summary['onnx_max_difference']:.1e} by ONNX."
    )
    console.print(f"Written to {out}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    cli.run_main(main, __doc__, sys.argv[1:])
