"""Loaders, and an epoch of dense training beside the usual script: fp32, contiguous, torchvision and a DataLoader."""

from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset
from torchvision.transforms import v2

from benchmarks.pairs import Row, Way, compare, timed
from granet import METHODS
from granet.common.progress import TrainingProgress
from granet.data import DataConfig, build_loader, open_data, prepare
from granet.data.prepared import Data
from granet.models import build
from granet.training.config import TrainConfig
from granet.training.loop import train_epoch
from granet.training.run import prepare_run

BATCH, CPU = 128, torch.device("cpu")


class Pictures(TensorDataset):
    """Decoded images, each augmented by torchvision when it is asked for."""

    def __init__(self, data: Data) -> None:
        parts = [(images.clone(), labels.clone()) for images, labels in data.train.epoch(0)]
        super().__init__(*(torch.cat(column) for column in zip(*parts, strict=True)))
        augment = data.augment
        self._change = v2.Compose(
            [
                v2.RandomCrop(data.image_shape[1:], padding=augment.padding),
                v2.RandomHorizontalFlip(0.5 * augment.flip),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(augment.mean, augment.std),
            ]
        )

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        image, label = super().__getitem__(index)
        return self._change(image), label


def usual(data: Data) -> Way:
    """An epoch of a script as tutorials have it, on the same images."""
    torch.manual_seed(0)
    model = build("resnet20", num_classes=data.num_classes)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    batches = DataLoader(Pictures(data), BATCH, shuffle=True, num_workers=2, persistent_workers=True)

    def epoch() -> None:
        model.train()
        for images, labels in batches:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()

    return timed(epoch)


def ours(data: Data) -> Way:
    """An epoch of the pipeline's dense training."""
    torch.manual_seed(0)
    model = build("resnet20", num_classes=data.num_classes)
    run = prepare_run("", model, METHODS["dense"](), data, TrainConfig(), seed=0, device=CPU)
    return timed(lambda: train_epoch(run, 0, TrainingProgress("", len(data.train), silent=True)))


def rows(folder: Path, pairs: int) -> list[Row]:
    """FFCV's loader beside the resident one, the usual epoch beside ours; on the digits."""
    prepare("digits", folder, DataConfig())
    ffcv, resident = (
        build_loader(kind, folder / "train.beton", batch_size=BATCH, seed=0, shuffle=True, device="cpu")
        for kind in ("ffcv", "resident")
    )
    data = open_data(folder, loader="resident", batch_size=BATCH, seed=0, device=CPU)
    images = f"{data.train.num_images:,} digits"
    reading = [timed(lambda it=loader: list(it.epoch(0))) for loader in (ffcv, resident)]
    return [
        compare(f"an epoch's batches, {images}: ffcv / resident", reading[0], reading[1], 3 * pairs),
        compare(f"an epoch of ResNet-20, {images}: usual script / ours", usual(data), ours(data), pairs),
    ]
