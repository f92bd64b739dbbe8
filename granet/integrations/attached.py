"""A Sparsifier whose loop is somebody else's: `after_step` follows every optimizer step by itself."""

from typing import Any

from torch import nn
from torch.optim import Optimizer

from granet.common.optimizers import unwrapped
from granet.method import Method
from granet.sparsifier import Sparsifier
from granet.sparsifier.loop_order import released
from granet.types import UserError


def needs(package: str, module: str) -> ImportError:
    """What importing a module says where its package is missing."""
    return ImportError(
        f"{module} needs the package {package}, which is not installed; run: pip install {package}"
    )


class Attached:
    """A Sparsifier and a hook of its optimizer. A step that a GradScaler skips calls no hook, so it does not count.

    Raises UserError for methods that mask in the forward: they rename weights, and the checkpoint of a framework, which
    is read before there is an optimizer, would not go with the model.
    """

    def __init__(
        self, model: nn.Module, optimizer: Optimizer, method: Method, total_steps: float, keys: dict[str, Any]
    ) -> None:
        if method.projection.keeps_values:
            raise UserError(
                "method: STR, DPF, SR-STE, Top-KAST and original GMP rename the model's weights, which the checkpoints "
                "of a framework do not go with; use another method, or a loop of your own"
            )
        if not 0 < total_steps < float("inf"):
            raise UserError(
                f"total_steps={total_steps}: a schedule needs an end; give the trainer max_steps or max_epochs"
            )
        optimizer = unwrapped(optimizer)
        self.sparsifier = Sparsifier(model, optimizer, method, total_steps=int(total_steps), **keys)
        self._release = released(optimizer)
        self._hook = optimizer.register_step_post_hook(lambda *_: self.sparsifier.after_step())

    def detach(self) -> None:
        """The training has ended: later steps of the optimizer are none of ours."""
        self._hook.remove()
        self._release()
