"""How to train: the settings that all methods share."""

from dataclasses import dataclass

from granet.common.keys import check_keys, key
from granet.maskable import Choice
from granet.models import INITS
from granet.types import UserError


@dataclass
class TrainConfig:
    """How to train. The defaults are the paper's CIFAR settings (Tables 1 and 7)."""

    epochs: int = key(160, "passes over the training set", at_least=1)
    extend: float = key(1.0, "factor, 1 or more, on epochs and all points in time, e.g. 2.5", at_least=1)
    batch_size: int = key(128, "images per optimizer step; the last batch may be smaller", at_least=1)
    lr: float = key(0.1, "initial learning rate", above=0)
    lr_schedule: str = key(
        "steps",
        "steps (lr_drops) | cosine | linear | onecycle (up in the warm-up, then down)",
        choices=("steps", "cosine", "linear", "onecycle"),
    )
    lr_final: float = key(0.0, "where cosine, linear and onecycle end", at_least=0)
    lr_drops: list[float] = key(
        [0.5, 0.75],
        "points of the run, in [0, 1], where lr is multiplied by lr_factor",
        at_least=0,
        at_most=1,
    )
    lr_factor: float = key(0.1, "factor of each drop", above=0, at_most=1)
    warmup_epochs: float = key(0.0, "epochs over which lr rises linearly to its initial value", at_least=0)
    optimizer: str = key("sgd", "sgd | adam | adamw", choices=("sgd", "adam", "adamw"))
    momentum: float = key(0.9, "of SGD", at_least=0, below=1)
    nesterov: bool = key(True, "of SGD: Nesterov momentum")
    betas: list[float] = key([0.9, 0.999], "of Adam: how slow its two running means are", at_least=0, below=1)
    eps: float = key(1e-8, "of Adam, added to the root of the second one", above=0)
    weight_decay: float = key(5e-4, "L2, on every parameter; adamw: decoupled from the gradient", at_least=0)
    decay_norm: bool = key(True, "false: no weight decay on BatchNorm, LayerNorm and their kind")
    decay_bias: bool = key(True, "false: none on biases and other vectors, and what a timm model names")
    clip_norm: float | None = key(
        None, "gradients are scaled down to this norm, all together; null: never", above=0
    )
    init: str | None = key(
        None, f"of convolutions: {' | '.join(INITS)}; null: the model's own", choices=tuple(INITS)
    )
    include: list[str] = key([], "layers that are masked, by type, name or pattern, e.g. [Conv2d]; []: all")
    exclude: list[str] = key([], "layers that stay dense and outside of the sparsity, as [conv1, 'layer1.*']")
    dense: list[str] = key([], "the same by place: [first], [last], [first, last]", choices=("first", "last"))
    layer_sparsity: dict[str, float] = key(
        {}, "final sparsities of single layers, e.g. {conv1: 0.5}; the others make up for them"
    )
    recalibrate: int = key(
        0,
        "training batches that BatchNorm's statistics are taken of anew before each evaluation; 0: none, they stay",
        at_least=0,
    )
    label_smoothing: float = key(0.0, "in [0, 1)", at_least=0, below=1)
    ema_decay: float | None = key(
        None,
        "of the average of the weights that is evaluated and saved in their place; null: none",
        above=0,
        below=1,
    )
    randaugment: int = key(0, "RandAugment: operations on each image; 0: none", at_least=0)
    randaugment_magnitude: int = key(9, "how strong they are, 0 to 30", at_least=0, at_most=30)
    erasing: float = key(0.0, "share of images that lose a rectangle", at_least=0, at_most=1)
    mixup: float = key(0.0, "alpha of mixup, one draw per batch; 0: none", at_least=0)
    cutmix: float = key(0.0, "alpha of CutMix; with mixup each batch draws one of them; 0: none", at_least=0)
    micro_batch: int | None = key(
        None, "images per forward of one process, gradients accumulated; null: its whole share", at_least=1
    )
    precision: str = key(
        "auto", "auto | fp32 | bf16; auto: bf16 where the hardware has it", choices=("auto", "fp32", "bf16")
    )
    channels_last: bool = key(True, "memory layout of images and weights")
    compile: bool = key(False, "torch.compile; minutes at the start, and other rounding")
    kernels: str = key(
        "dense",
        "dense | sparse | auto; sparse: active weights alone, on CPUs; auto: where that is faster",
        choices=("dense", "sparse", "auto"),
    )
    num_processes: int = key(
        1, "of one run, a device each, started by torchrun; they share each batch", at_least=1
    )
    num_threads: int | None = key(
        None, "of each process on the CPU: other sums are split otherwise; null: as torch starts", at_least=1
    )
    sync_bn: bool = key(False, "BatchNorm over all processes (GPUs only); false: each its own")
    cuda_graphs: bool = key(
        True,
        "a GPU repeats recorded steps, at one launch each; false: every kernel is launched",
        decides_result=False,
    )
    checkpoint_s: float = key(
        300.0, "seconds between two checkpoints within an epoch", at_least=0, decides_result=False
    )
    device: str = key("auto", "auto | cpu | cuda | cuda:1 | mps", decides_result=False)

    def __post_init__(self) -> None:
        check_keys("train", self)
        for name, ok, rule in (
            ("warmup_epochs", self.warmup_epochs <= self.epochs, "at most train.epochs"),
            (
                "warmup_epochs",
                self.lr_schedule != "onecycle" or self.warmup_epochs > 0,
                "above 0 for onecycle",
            ),
            ("lr_final", self.lr_schedule != "steps" or self.lr_final == 0, "0 where lr_schedule is steps"),
            (
                "recalibrate",
                not (self.recalibrate and self.ema_decay),
                "0 where train.ema_decay is set",
            ),
            ("lr_final", self.lr_final <= self.lr, "at most train.lr"),
            ("nesterov", not self.nesterov or self.has_momentum, "false where momentum is 0"),
            ("betas", len(self.betas) == 2, "two numbers"),
            ("num_processes", self.num_processes <= self.batch_size, "at most train.batch_size"),
            ("mixup", not self.mixup or self.images_per_forward > 1, "0 where a forward gets one image"),
            ("cutmix", not self.cutmix or self.images_per_forward > 1, "0 where a forward gets one image"),
            ("sync_bn", not (self.sync_bn and self.micro_batch), "false where train.micro_batch is set"),
        ):
            if not ok:
                raise UserError(f"train.{name}={getattr(self, name)!r} must be {rule}")

    @property
    def choice(self) -> Choice:
        """Which layers are masked."""
        return Choice.made(self.include, self.exclude, self.dense)

    @property
    def images_per_forward(self) -> int:
        """Images that go through the network together, in one process, at most."""
        share = -(-self.batch_size // self.num_processes)
        return min(share, self.micro_batch or share)

    @property
    def images_per_norm(self) -> int:
        """Images that BatchNorm's statistics are of, at most."""
        return self.batch_size if self.sync_bn else self.images_per_forward

    @property
    def has_momentum(self) -> bool:
        """Whether the optimizer holds a running mean of the gradient."""
        return self.optimizer != "sgd" or self.momentum > 0

    @property
    def drops(self) -> list[float]:
        """Points of the run, in [0, 1], where the learning rate drops; none where it falls all the time."""
        return self.lr_drops if self.lr_schedule == "steps" else []

    @property
    def total_epochs(self) -> int:
        """Epochs of the extended run."""
        return round(self.epochs * self.extend)
