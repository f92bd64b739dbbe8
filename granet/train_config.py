"""How to train: the settings that all methods share."""

import math
from dataclasses import dataclass, field

from granet.types import UserError


@dataclass
class TrainConfig:
    """How to train. The defaults are the paper's CIFAR settings (Tables 1 and 7)."""

    epochs: int = field(default=160, metadata={"help": "passes over the training set"})
    extend: float = field(
        default=1.0, metadata={"help": "factor, 1 or more, on epochs and all points in time, e.g. 2.5"}
    )
    batch_size: int = field(
        default=128, metadata={"help": "images per optimizer step; the last batch may be smaller"}
    )
    lr: float = field(default=0.1, metadata={"help": "initial learning rate"})
    lr_drops: list[float] = field(
        default_factory=lambda: [0.5, 0.75],
        metadata={"help": "points of the run, in [0, 1], where lr is multiplied by lr_factor"},
    )
    lr_factor: float = field(default=0.1, metadata={"help": "factor of each drop"})
    warmup_epochs: float = field(
        default=0.0, metadata={"help": "epochs over which lr rises linearly to its initial value"}
    )
    momentum: float = field(default=0.9, metadata={"help": "of SGD"})
    nesterov: bool = field(default=True, metadata={"help": "Nesterov momentum"})
    weight_decay: float = field(default=5e-4, metadata={"help": "L2, on every parameter"})
    decay_norm: bool = field(default=True, metadata={"help": "false: no weight decay on BatchNorm"})
    label_smoothing: float = field(default=0.0, metadata={"help": "in [0, 1)"})
    micro_batch: int | None = field(
        default=None,
        metadata={"help": "images per forward of one process, gradients accumulated; null: its whole share"},
    )
    precision: str = field(
        default="auto", metadata={"help": "auto | fp32 | bf16; auto: bf16 where the hardware has it"}
    )
    channels_last: bool = field(default=True, metadata={"help": "memory layout of images and weights"})
    compile: bool = field(
        default=False, metadata={"help": "torch.compile; minutes at the start, and other rounding"}
    )
    num_processes: int = field(
        default=1, metadata={"help": "of one run, a device each, started by torchrun; they share each batch"}
    )
    sync_bn: bool = field(
        default=False, metadata={"help": "BatchNorm over all processes (GPUs only); false: each its own"}
    )
    device: str = field(default="auto", metadata={"help": "auto | cpu | cuda | cuda:1 | mps"})

    def __post_init__(self) -> None:
        for key, ok, rule in (
            ("epochs", self.epochs >= 1, "at least 1"),
            ("extend", 1 <= self.extend < math.inf, "at least 1: training can only be made longer"),
            ("batch_size", self.batch_size >= 1, "at least 1"),
            ("lr", self.lr > 0, "above 0"),
            ("lr_factor", 0 < self.lr_factor <= 1, "in (0, 1]"),
            ("lr_drops", all(0 <= drop <= 1 for drop in self.lr_drops), "fractions of the run in [0, 1]"),
            ("warmup_epochs", 0 <= self.warmup_epochs <= self.epochs, "between 0 and train.epochs"),
            ("momentum", 0 <= self.momentum < 1, "in [0, 1)"),
            ("nesterov", not self.nesterov or self.momentum > 0, "false where momentum is 0"),
            ("weight_decay", self.weight_decay >= 0, "0 or more"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "in [0, 1)"),
            ("micro_batch", self.micro_batch is None or self.micro_batch >= 1, "at least 1, or null"),
            ("num_processes", 1 <= self.num_processes <= self.batch_size, "1 to train.batch_size"),
            ("sync_bn", not (self.sync_bn and self.micro_batch), "false where train.micro_batch is set"),
            ("precision", self.precision in ("auto", "fp32", "bf16"), "auto, fp32 or bf16"),
        ):
            if not ok:
                raise UserError(f"train.{key}={getattr(self, key)!r} must be {rule}")

    @property
    def images_per_norm(self) -> int:
        """Images that BatchNorm's statistics are of, at most."""
        share = self.batch_size if self.sync_bn else -(-self.batch_size // self.num_processes)
        return min(share, self.micro_batch or share)

    @property
    def total_epochs(self) -> int:
        """Epochs of the extended run."""
        return round(self.epochs * self.extend)
