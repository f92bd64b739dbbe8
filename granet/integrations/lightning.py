"""Sparse training in Lightning: a callback."""

from typing import Any

from torch.optim import Optimizer

from granet.integrations.attached import Attached, needs
from granet.method import Method
from granet.sparsifier import Sparsifier
from granet.types import UserError

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError:
    raise needs("lightning", __name__) from None


class SparsifierCallback(Callback):
    """``Trainer(callbacks=[SparsifierCallback(METHODS["granet"](sf=0.9))])`` trains the module sparsely.

    ``keys`` go to `Sparsifier` (``batches``, ``loss``, ...); its total_steps is the trainer's. Lightning saves and
    restores its state with every checkpoint, and a resumed run goes on bit for bit. Gradients may be accumulated
    and clipped (the norm is that of the masked gradient), in any precision, and optimization may be manual.
    ``sparsifier`` is there from the start of training. Raises UserError for a module with several optimizers.
    """

    def __init__(self, method: Method, *, seed: int = 0, **keys: Any) -> None:
        self._method = method
        self._keys = {"seed": seed, **keys}
        self._attached: Attached | None = None
        self._state: dict[str, Any] = {}

    @property
    def sparsifier(self) -> Sparsifier:
        """Raises UserError before training has begun."""
        if self._attached is None:
            raise UserError(
                "SparsifierCallback.sparsifier is made when training begins; ask for it after that"
            )
        return self._attached.sparsifier

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Model and optimizer are whole, and what a checkpoint held has been loaded."""
        if len(trainer.optimizers) != 1:
            raise UserError(
                f"SparsifierCallback goes with one optimizer, and this module has {len(trainer.optimizers)}; give "
                "their parameters to one, as groups"
            )
        steps = trainer.estimated_stepping_batches
        self._attached = Attached(pl_module, trainer.optimizers[0], self._method, steps, self._keys)
        if self._state:
            self.sparsifier.load_state_dict(self._state)
            self._state = {}  # another fit may follow, of another module

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """The whole gradient is there, unscaled, and not clipped yet."""
        self.sparsifier.after_backward()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the optimizer alone."""
        if self._attached is not None:
            self._attached.detach()

    def state_dict(self) -> dict[str, Any]:
        """What Lightning puts into a checkpoint."""
        return self._state if self._attached is None else self.sparsifier.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What it has read: kept until the Sparsifier is there."""
        self._state = state_dict
