"""Sparse training in the Trainer of Hugging Face's transformers: a callback."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import torch

from granet.integrations.attached import Attached, needs
from granet.method import Method
from granet.sparsifier import Sparsifier
from granet.types import UserError

try:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
    from transformers.trainer_callback import ExportableState
except ImportError:
    raise needs("transformers", __name__) from None

STATE_FILE = "trainer_state.json"


class SparsifierCallback(TrainerCallback, ExportableState):
    """``Trainer(..., callbacks=[SparsifierCallback(METHODS["granet"](sf=0.9))])`` trains the model sparsely.

    ``keys`` go to `Sparsifier` (``batches``, ``loss``, ...); its total_steps is the trainer's. Its state is in
    trainer_state.json of every checkpoint, and a resumed run goes on bit for bit. Gradients may be accumulated, in
    any precision. Trainer clips before any callback sees the gradient: the norm is then that of the dense one.
    ``sparsifier`` is there from the start of training; with load_best_model_at_end its masks are the best model's.
    """

    def __init__(self, method: Method, *, seed: int = 0, **keys: Any) -> None:
        self._method = method
        self._keys = {"seed": seed, **keys}
        self._attached: Attached | None = None

    @property
    def sparsifier(self) -> Sparsifier:
        """Raises UserError before training has begun."""
        if self._attached is None:
            raise UserError(
                "SparsifierCallback.sparsifier is made when training begins; ask for it after that"
            )
        return self._attached.sparsifier

    def on_init_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Trainer would otherwise put another callback, made without a method, in this one's place."""
        if args.restore_callback_states_from_checkpoint:
            raise UserError(
                "restore_callback_states_from_checkpoint=True makes callbacks anew, which SparsifierCallback's method "
                "does not outlast; set it to False: the masks are restored without it"
            )

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **objects: Any
    ) -> None:
        """Model and optimizer are whole, and what a checkpoint held has been loaded."""
        if self._attached is not None:
            self._attached.detach()
        model, optimizer = objects["model"], objects["optimizer"]
        self._attached = Attached(model, optimizer, self._method, state.max_steps, self._keys)
        if state.global_step > 0:
            self._load(state.stateful_callbacks, "the checkpoint")

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """The whole gradient is there, unscaled, and clipped."""
        self.sparsifier.after_backward()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Leave the optimizer alone; the masks are those of the weights that Trainer leaves."""
        if self._attached is not None:
            self._attached.detach()
        if args.load_best_model_at_end and state.best_model_checkpoint is not None:
            file = Path(state.best_model_checkpoint) / STATE_FILE
            self._load(json.loads(file.read_bytes())["stateful_callbacks"], str(file))

    def state(self) -> dict[str, Any]:
        """What Trainer puts into trainer_state.json."""
        if self._attached is None:
            return {"args": {}, "attributes": {}}
        content = io.BytesIO()
        torch.save(self.sparsifier.state_dict(), content)
        return {"args": {}, "attributes": {"sparsifier": base64.b64encode(content.getvalue()).decode()}}

    def _load(self, callbacks: Any, where: str) -> None:
        try:
            content = callbacks[type(self).__name__]["attributes"]["sparsifier"]
        except (KeyError, TypeError):
            raise UserError(
                f"{where} has no masks: it is of a training without SparsifierCallback; start anew, or fine-tune its "
                "model"
            ) from None
        content = io.BytesIO(base64.b64decode(content))
        self.sparsifier.load_state_dict(torch.load(content, map_location="cpu", weights_only=True))
