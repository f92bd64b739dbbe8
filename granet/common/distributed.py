"""One run on several devices: torch's DistributedDataParallel, in processes that torchrun starts.

Every process holds the whole network and trains on its share of each batch. Masks are communicated once, at the
start: after that all processes see the same averaged gradients, so all compute the same masks, and `check_masks` looks
whether they do. Without torchrun there is a world of one, and nothing here does anything.
"""

import hashlib
import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from granet.types import InitContext, Masks, UserError

PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others: the first compilation and an evaluation may take their time."""


@dataclass(frozen=True)
class World:
    """Which of how many processes this is."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def share(self, num_images: int) -> slice:
        """This process's part of a batch. The parts are consecutive, and the first ones may be larger by one image.

        >>> [World(rank, 3).share(7) for rank in range(3)]
        [slice(0, 3, None), slice(3, 5, None), slice(5, 7, None)]
        """
        each, left = divmod(num_images, self.size)
        start = self.rank * each + min(self.rank, left)
        return slice(start, start + each + (self.rank < left))

    def seen(self, num_images: int) -> slice:
        """What this process trains on: its share, or the batch's first image where it has none.

        All processes must take part in every step; `weight` keeps such an image out of the gradients.

        >>> World(2, 3).share(2), World(2, 3).seen(2), World(2, 3).weight(2)
        (slice(2, 2, None), slice(0, 1, None), 0.0)
        """
        share = self.share(num_images)
        return share if share.start < share.stop else slice(0, min(1, num_images))

    def weight(self, num_images: int) -> float:
        """By which the mean loss of this process's share counts, where gradients are averaged over processes."""
        share = self.share(num_images)
        return (share.stop - share.start) * self.size / num_images


ALONE = World()


def world() -> World:
    """The processes of this run; one, unless they have `joined`."""
    return World(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else ALONE


LAUNCHED = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun tells each of its processes."""


def num_started() -> int:
    """The processes that torchrun has started for this run, this one among them; 1 without torchrun.

    Raises UserError where its variables are set in part, as a shell may have kept them, and where Slurm has started
    several processes without it: each would train the whole run.
    """
    text = os.environ.get("WORLD_SIZE", "1")
    if text == "1":
        if int(tasks := os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
            raise UserError(
                f"SLURM_STEP_NUM_TASKS={tasks}: Slurm has started {tasks} processes, and each would train the "
                "same run; start one (srun -n 1)"
            )
        return 1
    missing = [name for name in LAUNCHED if name not in os.environ]
    if missing or not text.isdecimal():
        wrong = f"without {', '.join(missing)}" if missing else "is no number"
        raise UserError(f"WORLD_SIZE={text} {wrong}: start with torchrun, or unset WORLD_SIZE")
    return int(text)


def num_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def own_threads() -> int:
    """The cores of this machine, shared by the processes of this run that it has; at least 1."""
    return max(1, num_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


@contextmanager
def joined(device: str = "auto") -> Iterator[World]:
    """Meet the other processes that torchrun has started, and part from them at the end.

    ``device`` is train.device. Raises UserError where it cannot give every process of this machine a GPU.
    """
    if num_started() == 1:
        yield ALONE
        return
    on_gpus = device != "cpu" and torch.cuda.is_available()
    if on_gpus:
        processes, devices = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
        if device not in ("auto", "cuda"):
            raise UserError(
                f"train.device={device!r} names one device for several processes; write device: cuda"
            )
        if processes > devices:
            raise UserError(
                f"train.num_processes={processes} needs as many GPUs, and there are {devices}; lower it"
            )
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if on_gpus else "gloo", timeout=PATIENCE)
    yield world()
    dist.destroy_process_group()  # not after an error: it would wait for the others, and they for the end of this one


def agreed(init: Callable[[InitContext], Masks]) -> Callable[[InitContext], Masks]:
    """``init``, but the first process's masks are everybody's: scores from images may differ in their last digits."""
    if world().size == 1:
        return init

    def shared(context: InitContext) -> Masks:
        masks: Masks = {}
        for name, mask in init(context).items():
            values = mask.to(context.weights[name].device, torch.uint8).contiguous()
            dist.broadcast(values, src=0)
            masks[name] = values.bool()
        return masks

    return shared


def spread(model: nn.Module, *, sync_bn: bool = False) -> nn.Module:
    """The module whose backward averages gradients over the processes; the model itself in a world of one.

    BatchNorm's running statistics stay each process's own until `share_buffers`. ``sync_bn``: all normalise by the
    whole batch.
    """
    if world().size == 1:
        return model
    if sync_bn:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    known = inspect.signature(DistributedDataParallel.__init__).parameters
    syncs = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # older torch
    return DistributedDataParallel(model, **{syncs: False})  # pyright: ignore[reportArgumentType]


@contextmanager
def averaging(model: nn.Module, *, now: bool) -> Iterator[None]:
    """In a backward under this, gradients are averaged over the processes. Not ``now``: they only add up.

    So it is where more parts of the batch follow.
    """
    if not now and isinstance(model, DistributedDataParallel):
        with model.no_sync():
            yield
    else:
        yield


def share_buffers(model: nn.Module) -> None:
    """Give all processes the first one's buffers: the running statistics that are evaluated and saved."""
    if world().size > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def add_up(values: Tensor) -> Tensor:
    """The sum over the processes, in place."""
    if world().size > 1:
        dist.all_reduce(values)
    return values


def same(number: int, device: torch.device) -> bool:
    """Whether all processes have the same number. They talk on ``device``."""
    values = torch.tensor([number, -number], device=device)
    if world().size > 1:
        dist.all_reduce(values, dist.ReduceOp.MAX)
    highest, minus_lowest = values.tolist()
    return highest == -minus_lowest


def told(text: str) -> str:
    """What the first process says."""
    box = [text]
    if world().size > 1:
        dist.broadcast_object_list(box, src=0)
    return box[0]


def check_masks(masks: Masks) -> None:
    """Raise UserError, with the layer's name, where the processes have different masks.

    What is compared is a 63-bit hash of every mask.
    """
    if world().size == 1 or not masks:
        return
    device = next(iter(masks.values())).device
    hashes = torch.tensor([_hash(mask) for mask in masks.values()], device=device)
    lowest, highest = hashes.clone(), hashes.clone()
    dist.all_reduce(lowest, dist.ReduceOp.MIN)
    dist.all_reduce(highest, dist.ReduceOp.MAX)
    for name, differs in zip(masks, (lowest != highest).tolist(), strict=True):
        if differs:
            raise UserError(
                f"{name}: the {world().size} processes of this run have different masks; their gradients or weights "
                "have drifted apart, so the run ends here: go on with train.num_processes=1"
            )


def _hash(mask: Tensor) -> int:
    packed = np.packbits(mask.cpu().numpy()).tobytes()
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "big") >> 1
