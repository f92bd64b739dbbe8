"""What sparsity costs in a training step: GraNet and Deep-R beside dense training, and the optimizer by itself."""

import torch

from benchmarks.pairs import Row, Way, compare, timed
from benchmarks.updates import trained
from granet import METHODS, Sparsifier
from granet.models import build
from granet.training.config import TrainConfig
from granet.training.device import pick_precision
from granet.training.optimizer import build_optimizer

BATCH = 128
PRECISION = pick_precision("auto", torch.device("cpu"))


def step(model_name: str, method: str, **values: float) -> Way:
    """A step as the pipeline takes it: channels_last, its optimizer, bf16 where the processor computes in it."""
    torch.manual_seed(0)
    model = build(model_name, num_classes=10).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    images = torch.randn(BATCH, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(10, (BATCH,))
    optimizer = build_optimizer(model, TrainConfig(lr=0.01))
    sparsifier = Sparsifier(model, optimizer, METHODS[method](**values), seed=0, total_steps=10**6)

    def take() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=PRECISION == "bf16"):
            logits = model(images)
        torch.nn.functional.cross_entropy(logits.float(), labels).backward()
        sparsifier.after_backward()
        optimizer.step()
        sparsifier.after_step()
        optimizer.zero_grad(set_to_none=True)

    return timed(take)


def optimizer_step(model_name: str, *, ours: bool) -> Way:
    """A step of SGD alone: the pipeline's, or torch's default."""
    model, optimizer, backward = trained(model_name, torch.channels_last)
    if ours:
        optimizer = build_optimizer(model, TrainConfig(lr=0.01))
    backward()
    return timed(optimizer.step)


def rows(model_name: str, pairs: int) -> list[Row]:
    """Steps with masks over dense ones, and torch's default optimizer over ours."""
    methods = (("GraNet", "granet", {"si": 0.5}), ("Deep-R", "deep_r", {}))
    return [
        *(
            compare(
                f"{model_name}: {label} step at 90 % / dense step",
                step(model_name, method, sf=0.9, **values),
                step(model_name, "dense"),
                pairs,
            )
            for label, method, values in methods
        ),
        compare(
            f"{model_name}: torch's default SGD / ours",
            optimizer_step(model_name, ours=False),
            optimizer_step(model_name, ours=True),
            3 * pairs,
        ),
    ]
