"""Loss and top-1 accuracy over a loader, every image counted once."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from granet.common.distributed import add_up


@dataclass
class Meter:
    """Sums that stay on the device until someone reads them: reading is the only host-device sync."""

    device: torch.device
    num_images: int = 0
    _sums: Tensor = field(init=False)

    def __post_init__(self) -> None:
        # Apple's GPUs have no float64.
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        self._sums = torch.zeros(2, dtype=dtype, device=self.device)

    def add(self, mean_loss: Tensor, logits_BC: Tensor, labels: Tensor) -> None:
        """Count one batch. Of labels (B, classes) that are shares, as mixup's are, the largest counts as correct."""
        self.num_images += len(labels)
        labels_B = labels if labels.dim() == 1 else labels.argmax(1)
        correct = (logits_BC.detach().argmax(1) == labels_B).sum()
        loss = mean_loss.detach().to(self._sums.dtype) * len(labels)
        self._sums += torch.stack([loss, correct.to(self._sums.dtype)])

    def state_dict(self) -> dict:
        """What `load_state_dict` goes on from."""
        return {"num_images": self.num_images, "sums": self._sums.clone()}

    def load_state_dict(self, state: dict) -> None:
        """Go on counting."""
        self.num_images, self._sums = state["num_images"], state["sums"].to(self.device)

    def total(self) -> tuple[float, float]:
        """Mean loss and accuracy over the images of all processes, which must all ask at once."""
        counted = torch.tensor([self.num_images], dtype=self._sums.dtype, device=self.device)
        *sums, num_images = add_up(torch.cat([self._sums, counted])).tolist()
        return sums[0] / num_images, sums[1] / num_images

    def read(self) -> tuple[float, float]:
        """Mean loss and accuracy in [0, 1] so far, of this process's images."""
        loss, correct = (self._sums / self.num_images).tolist()
        return loss, correct


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    forward: Callable[[nn.Module, Tensor], Tensor],
    device: torch.device,
) -> tuple[float, float]:
    """Mean cross-entropy and top-1 accuracy in [0, 1] in eval mode; leaves the model in the mode it had."""
    was_training = model.training
    model.eval()
    meter = Meter(device)
    for images, labels in batches:
        logits = forward(model, images)
        meter.add(cross_entropy(logits.float(), labels), logits, labels)
    model.train(was_training)
    return meter.total()
