"""The pictures of the site, by matplotlib: a mask through an update, the schedules, and every method's own curve.

Written as SVG whose bytes depend on what is drawn alone; text is grey, for light pages and dark ones.
"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from matplotlib.figure import Figure
from torch import nn

from granet import METHODS, Sparsifier
from granet.common.files import atomic
from granet.schedules import cosine, cubic, geometric
from granet.training.config import TrainConfig
from granet.training.rates import curve as curve_of
from granet.update import drop, grow, prune

STEPS, INTERVAL = 120, 6
GREY, BLUE, RED, GREEN = "#808890", "#3b82f6", "#ef4444", "#22a55a"
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "granet",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), GREY),
}
KEYS: dict[str, dict] = {
    **{
        name: {"update_interval": INTERVAL}
        for name in ("set", "deep_r", "dsr", "snfs", "rigl", "gmp", "granet")
    },
    **{
        name: {"update_interval": INTERVAL}
        for name in (
            "gmp_original",
            "gmp_star",
            "mest",
            "topkast",
            "gse",
            "cht",
            "srigl",
            "str",
            "dpf",
            "chase",
        )
    },
    "acdc": {"update_interval": STEPS // 20},
    "imp": {"prune_fraction": 0.4},
    **{name: {"update_interval": INTERVAL, "sf": 0.75} for name in ("rigl_nm", "sr_ste")},
}
"""What a method needs to have something to do in so few steps."""


def write(path: Path, figure: Figure) -> None:
    """As an SVG without a date."""
    content = io.BytesIO()
    figure.savefig(content, format="svg", transparent=True, metadata={"Date": None}, bbox_inches="tight")
    atomic(path, content.getvalue())


def mask_update() -> Figure:
    """One tensor of 12 x 16: before, after pruning, after dropping, after growing; by the library's own verbs."""
    generator = torch.Generator().manual_seed(3)
    weights, gradients = (torch.randn(12, 16, generator=generator) for _ in range(2))
    mask = torch.rand(12, 16, generator=generator) < 0.5
    before = {"w": mask}
    scores = {"w": weights.abs() * mask}
    pruned = prune(before, scores, {"w": 60})
    left = drop(pruned, scores, {"w": 18})
    grown = grow(left, {"w": gradients.abs()}, {"w": 18})
    panels = (
        ("before", before["w"], None, None),
        ("prune: 60 stay", pruned["w"], before["w"] & ~pruned["w"], None),
        ("drop: 18 go", left["w"], pruned["w"] & ~left["w"], None),
        ("grow: 18 come", left["w"], None, grown["w"] & ~left["w"]),
    )
    figure = Figure(figsize=(9, 2.1))
    for axes, (title, active, gone, new) in zip(figure.subplots(1, 4), panels, strict=True):
        for places, color in ((active, BLUE), (gone, RED), (new, GREEN)):
            rows, columns = torch.where(places if places is not None else torch.zeros_like(active))
            axes.scatter(columns, rows, s=22, marker="s", color=color, linewidths=0)
        axes.set(title=title, xticks=[], yticks=[], xlim=(-1, 16), ylim=(12, -1), aspect="equal")
    return figure


def schedules() -> Figure:
    """Sparsity by the cubic and the geometric schedule, the dropped share by the cosine, and learning rates."""
    figure = Figure(figsize=(11, 2.4))
    left, right, rates = figure.subplots(1, 3)
    steps = range(101)
    curves: dict[str, Callable[[int], float]] = {
        "cubic (Eq. 1), from dense": cubic(0.0, 0.9, 10, 70),
        "cubic, from 50 %": cubic(0.5, 0.9, 10, 70),
        "geometric (IMP, SynFlow)": geometric(0.0, 0.9, 10, 70),
    }
    for (label, curve), color in zip(curves.items(), (BLUE, GREEN, RED), strict=True):
        left.plot(steps, [100 * curve(step) for step in steps], color=color, label=label)
    right.plot(steps, [100 * cosine(0.5, 0.005, 100)(step) for step in steps], color=BLUE, label="cosine")
    for name, color in (("steps", GREY), ("cosine", BLUE), ("linear", GREEN), ("onecycle", RED)):
        rate = curve_of(TrainConfig(epochs=100, lr=1.0, lr_schedule=name, warmup_epochs=10.0), 100, 10)
        rates.plot(steps[:-1], [rate(step) for step in steps[:-1]], color=color, label=name)
    rates.set(xlabel="step", ylabel="lr, of train.lr")
    left.set(xlabel="step", ylabel="sparsity, %")
    right.set(xlabel="step", ylabel="dropped of the active, %")
    for axes in (left, right, rates):
        axes.legend(frameon=False, fontsize=8)
    return figure


def course(name: str) -> tuple[list[float], list[float]]:
    """Sparsity after every step of a small training, and the share of the mask's active places that are new."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU())
    model.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)])
    inputs, labels = torch.randn(96, 1, 6, 6), torch.arange(96) % 10
    initial = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    keys = {"masks": half(model)} if name == "fixed" else {"sf": 0.9}
    method = METHODS[name](**({} if name == "dense" else keys) | KEYS.get(name, {}))
    sparsifier = Sparsifier(
        model,
        optimizer,
        method,
        seed=0,
        total_steps=STEPS,
        batches=lambda: [(inputs, labels)],
        rewind_to=initial,
    )
    sparsity, new = [sparsifier.sparsity], [0.0]
    for step in range(STEPS):
        batch = torch.arange(32 * (step % 3), 32 * (step % 3) + 32)
        nn.functional.cross_entropy(model(inputs[batch]), labels[batch]).backward()
        sparsifier.after_backward()
        optimizer.step()
        before = {key: mask.clone() for key, mask in sparsifier.masks.items()}
        sparsifier.after_step()
        optimizer.zero_grad(set_to_none=True)
        sparsity.append(sparsifier.sparsity)
        come = sum(int((mask & ~before[key]).sum()) for key, mask in sparsifier.masks.items())
        new.append(come / max(1, sum(int(mask.sum()) for mask in sparsifier.masks.values())))
    return sparsity, new


def half(model: nn.Module) -> dict[str, torch.Tensor]:
    """Masks that somebody has already: every second weight."""
    matrices = {key: value for key, value in model.named_parameters() if value.dim() > 1}
    return {key: (torch.arange(value.numel()) % 2 == 0).view(value.shape) for key, value in matrices.items()}


def curve(name: str) -> Figure:
    """Sparsity as a line, and what is new in the masks as bars."""
    sparsity, new = course(name)
    figure = Figure(figsize=(5, 1.5))
    axes = figure.subplots()
    steps = [step for step, share in enumerate(new) if share > 0]
    if steps:
        axes.bar(steps, [100 * new[step] for step in steps], width=1.5, color=GREEN, label="new in the mask")
    axes.plot([100 * share for share in sparsity], color=BLUE, label="sparsity")
    axes.set(xlabel="step", ylabel="%", ylim=(-2, 102), xlim=(0, STEPS))
    axes.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def draw(folder: Path) -> None:
    """All pictures."""
    with mpl.rc_context(STYLE):
        write(folder / "mask-update.svg", mask_update())
        write(folder / "schedules.svg", schedules())
        for name in (*METHODS, "fixed"):
            write(folder / f"method-{name}.svg", curve(name))
