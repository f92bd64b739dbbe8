"""How fast training is: the pipeline's own loop, alone and several times at once, and the usual script beside it.

Images are random, of 10 classes: no speed here depends on what they show.
"""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count, islice
from multiprocessing.synchronize import Barrier
from queue import Empty
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

from granet import METHODS
from granet.common.distributed import ALONE, World
from granet.common.progress import TrainingProgress
from granet.data import Augment, Data
from granet.data.order import epoch_order
from granet.models import build
from granet.training.config import TrainConfig
from granet.training.history import Row
from granet.training.loop import train_epoch
from granet.training.run import Run, prepare_run

NUM_CLASSES, EPOCHS, STEPS = 10, 160, 352
"""Of a run on CIFAR-10; a mask update comes after every INTERVAL steps."""
INTERVAL = 1000
WARM_UP = 5
"""Steps before anything is timed; the first of them is timed by itself."""
POOL_BYTES = 2**28
"""Of the images in memory, at most."""
START_S = 120.0
"""How long several runs may take to begin."""


def num_images(side: int, batch: int) -> int:
    """Images in memory: an epoch of CIFAR-10, or as many as fit, and a batch at least."""
    return max(batch, min(batch * STEPS, POOL_BYTES // (3 * side * side)))


class Noise:
    """Random images on the device, in new order every epoch, as ResidentLoader has them; of any number an epoch."""

    def __init__(self, side: int, batch: int, device: torch.device) -> None:
        pool = num_images(side, batch)
        self._images_NHWC = torch.randint(256, (pool, side, side, 3), dtype=torch.uint8, device=device)
        self._labels_N = torch.randint(NUM_CLASSES, (pool,), device=device)
        self.batch_size, self.num_images = batch, batch * STEPS

    def __len__(self) -> int:
        return self.num_images // self.batch_size

    def epoch(self, epoch: int, world: World = ALONE, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Whole batches."""
        order_N = torch.from_numpy(epoch_order(0, epoch, self.num_images) % len(self._labels_N))
        for numbers_B in order_N.to(self._labels_N.device).split(self.batch_size)[start:]:
            images_BHWC = self._images_NHWC.index_select(0, numbers_B)
            yield images_BHWC.permute(0, 3, 1, 2), self._labels_N[numbers_B]


class Pipeline:
    """A run by the pipeline's loop, warm. ``first_step_s``: of its first step, after this process's own first use."""

    def __init__(
        self, model: str, method: str, side: int, batch: int, device: torch.device, **config: Any
    ) -> None:
        """``config``: keys of TrainConfig."""
        self._loader, self._epochs = Noise(side, batch, device), count()
        normal = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
        augment = Augment(4, "reflect", True, *normal)
        names = tuple(map(str, range(NUM_CLASSES)))
        data = Data(self._loader, {}, augment, names, (3, side, side), "")
        row = METHODS[method](**({"sf": 0.95, "update_interval": INTERVAL} if method != "dense" else {}))
        settings = TrainConfig(epochs=EPOCHS, batch_size=batch, **config)
        torch.manual_seed(0)
        net = build(model, num_classes=NUM_CLASSES)
        self.run: Run = prepare_run(model, net, row, data, settings, seed=0, device=device)
        self.first_step_s = self._train(1)["time_s"]
        self._train(WARM_UP)

    def _train(self, steps: int, first: int = 0) -> Row:
        """An epoch of so many steps, the first of which follows optimizer step ``first``."""
        self._loader.num_images, self.run.sparsifier.step = steps * self._loader.batch_size, first
        with TrainingProgress("benchmark", steps, silent=True) as progress:
            return train_epoch(self.run, next(self._epochs), progress)

    def rate(self, steps: int) -> float:
        """Images per second over ``steps`` < INTERVAL steps without a mask update."""
        return self._train(steps)["images_per_s"]

    def update_s(self) -> float:
        """Seconds that a mask update adds to a step."""
        plain = self._train(1)["time_s"]
        return self._train(1, INTERVAL - 1)["time_s"] - plain


class Pictures(Dataset):
    """Random pictures in memory, augmented one by one on the host, as torchvision's users do."""

    def __init__(self, side: int, batch: int) -> None:
        from torchvision import transforms

        self._images_NHWC = torch.randint(
            256, (num_images(side, batch), side, side, 3), dtype=torch.uint8
        ).numpy()
        steps = [
            transforms.RandomCrop(side, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
        ]
        self._augment = transforms.Compose([*steps, transforms.Normalize([0.5] * 3, [0.25] * 3)])

    def __len__(self) -> int:
        return len(self._images_NHWC)

    def __getitem__(self, number: int) -> tuple[Any, int]:
        from PIL import Image

        return self._augment(Image.fromarray(self._images_NHWC[number])), number % NUM_CLASSES


class UsualScript:
    """fp32 with TF32 where the GPU has it, a DataLoader with ``num_workers``, the loss read after every step."""

    def __init__(self, model: str, side: int, batch: int, device: torch.device, num_workers: int) -> None:
        torch.manual_seed(0)
        self._model, self._device, self._batch = (
            build(model, num_classes=NUM_CLASSES).to(device),
            device,
            batch,
        )
        self._optimizer = torch.optim.SGD(
            self._model.parameters(), 0.1, 0.9, weight_decay=5e-4, nesterov=True
        )
        self._loader = DataLoader(
            Pictures(side, batch),
            batch,
            shuffle=True,
            num_workers=num_workers,
            pin_memory=device.type == "cuda",
            drop_last=True,
            persistent_workers=num_workers > 0,
        )
        self._batches = (batch for _ in count() for batch in self._loader)
        self.rate(WARM_UP)

    def rate(self, steps: int) -> float:
        """Images per second over ``steps`` steps."""
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        self._model.train()
        started = time.perf_counter()
        for images, labels in islice(self._batches, steps):
            self._optimizer.zero_grad()
            logits = self._model(images.to(self._device, non_blocking=True))
            loss = cross_entropy(logits, labels.to(self._device, non_blocking=True))
            loss.backward()
            self._optimizer.step()
            loss.item()
        seconds = time.perf_counter() - started
        torch.set_float32_matmul_precision(before)
        return steps * self._batch / seconds


def steps_of(rate: Callable[[int], float], batch: int, seconds: float) -> int:
    """How many steps take about ``seconds``, by a short trial."""
    return max(2, min(INTERVAL // 2, round(seconds * rate(WARM_UP) / batch)))


def wait_for(device: torch.device) -> None:
    """Until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def multiplications_per_s(side: int, precision: str, device: torch.device, seconds: float) -> float:
    """FLOPs per second of square matrices' products, the best of several: what the hardware reaches, not its sheet."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(side, side, dtype=dtype, device=device) for _ in range(2))
    times, until = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < until:
        wait_for(device)
        started = time.perf_counter()
        torch.mm(a, b)
        wait_for(device)
        times.append(time.perf_counter() - started)
    return 2 * side**3 / min(times)


def _one_of_several(rates: Any, barrier: Barrier, arguments: tuple, seconds: float) -> None:
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // barrier.parties))
    pipeline, batch = Pipeline(*arguments), arguments[3]
    steps = steps_of(pipeline.rate, batch, seconds / 4)
    barrier.wait(START_S)
    trained, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        pipeline.rate(steps)
        trained += steps * batch
    rates.put(trained / (time.perf_counter() - started))


def at_once(runs: int, arguments: tuple, seconds: float) -> float | None:
    """Images per second of ``runs`` processes together on one device; None where one of them could not run.

    ``arguments`` are Pipeline's.
    """
    context = multiprocessing.get_context("spawn")
    rates, barrier = context.Queue(), context.Barrier(runs)
    processes = [
        context.Process(target=_one_of_several, args=(rates, barrier, arguments, seconds), daemon=True)
        for _ in range(runs)
    ]
    try:
        for process in processes:
            process.start()
        told: list[float] = []
        until = time.monotonic() + START_S + 4 * seconds
        while len(told) < runs and time.monotonic() < until and not any(p.exitcode for p in processes):
            with suppress(Empty):
                told.append(rates.get(timeout=0.2))
        return sum(told) if len(told) == runs else None
    finally:
        for process in processes:
            process.kill()
            process.join()
