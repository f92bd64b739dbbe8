"""SparsifierCallback in the real Trainer: the same training as a loop of one's own, and one that can be resumed."""

import copy
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainingArguments

from granet import METHODS, Method, Sparsifier, UserError
from granet.integrations.transformers import SparsifierCallback

NUM_BATCHES, EPOCHS = 6, 4


def method(name: str = "granet") -> Method:
    return METHODS[name](sf=0.9, update_interval=2)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(16, 32), nn.Linear(32, 4)

    def forward(self, inputs, labels):
        logits = self.b(self.a(inputs).relu())
        return {"loss": cross_entropy(logits, labels), "logits": logits}


def examples() -> list[dict]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(8 * NUM_BATCHES, 16, generator=generator)
    labels = torch.randint(4, (len(inputs),), generator=generator)
    return [{"inputs": row, "labels": label} for row, label in zip(inputs, labels, strict=True)]


class InOrder(Trainer):
    def _get_train_sampler(self, train_dataset=None):
        return SequentialSampler(self.train_dataset)


def trainer(folder: Path, callback: SparsifierCallback, model: nn.Module | None = None, **keys) -> Trainer:
    values = {
        "num_train_epochs": EPOCHS,
        "save_strategy": "no",
        "max_grad_norm": 0.0,
        "lr_scheduler_type": "constant",
    }
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=8,
        learning_rate=0.01,
        use_cpu=True,
        report_to="none",
        logging_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        **values | keys,
    )
    return InOrder(
        model or Net(), arguments, train_dataset=examples(), eval_dataset=examples(), callbacks=[callback]
    )


@pytest.mark.parametrize("accumulate", [1, 2])
def test_it_trains_what_a_loop_of_ones_own_trains(tmp_path, accumulate):
    callback, model, mine = SparsifierCallback(method(), seed=3), Net(), Net()
    trainer(tmp_path, callback, model, gradient_accumulation_steps=accumulate).train()
    optimizer = torch.optim.AdamW(mine.parameters(), 0.01, weight_decay=0.0, fused=True)
    steps = EPOCHS * NUM_BATCHES // accumulate
    sparsifier = Sparsifier(mine, optimizer, method(), seed=3, total_steps=steps)
    rows = examples()
    batches = [rows[start : start + 8] for start in range(0, len(rows), 8)] * EPOCHS
    for number, batch in enumerate(batches, 1):
        whole = {key: torch.stack([row[key] for row in batch]) for key in ("inputs", "labels")}
        (mine(**whole)["loss"] / accumulate).backward()
        if number % accumulate == 0:
            sparsifier.after_backward()
            optimizer.step()
            sparsifier.after_step()
            optimizer.zero_grad(set_to_none=True)
    assert callback.sparsifier.step == steps
    assert callback.sparsifier.sparsity == sparsifier.sparsity == pytest.approx(0.9, abs=1e-3)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), mine.parameters(), strict=True))


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("name", ["granet", "rigl", "dsr"])
def test_a_run_that_is_resumed_from_any_checkpoint_ends_bit_for_bit(tmp_path, name, bf16):
    """Also within an epoch, with accumulated and clipped gradients, and from a checkpoint that has been moved."""
    keys = {"bf16": bf16, "gradient_accumulation_steps": 2, "max_grad_norm": 0.5}
    straight, callback = Net(), SparsifierCallback(method(name), seed=3)
    trainer(tmp_path, callback, straight, save_strategy="steps", save_steps=1, **keys).train()
    for step in (2, 5):
        moved = shutil.move(tmp_path / f"checkpoint-{step}", tmp_path / f"moved-{step}")
        model, resumed = Net(), SparsifierCallback(method(name), seed=3)
        nn.init.ones_(model.a.weight)
        trainer(tmp_path / "again", resumed, model, **keys).train(resume_from_checkpoint=str(moved))
        masks = callback.sparsifier.masks
        assert resumed.sparsifier.step == callback.sparsifier.step == EPOCHS * NUM_BATCHES // 2
        assert all(torch.equal(resumed.sparsifier.masks[key], mask) for key, mask in masks.items())
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), straight.parameters(), strict=True))
        assert all((model.get_parameter(key)[~mask] == 0).all() for key, mask in masks.items())


def test_the_best_model_has_its_own_masks(tmp_path):
    """The best of these is an early one, whose masks keep more."""
    callback, model = SparsifierCallback(method(), seed=3), Net()
    keys = {"eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": True}
    run = trainer(tmp_path, callback, model, metric_for_best_model="loss", greater_is_better=True, **keys)
    run.train()
    best = int(run.state.best_model_checkpoint.rpartition("-")[2])
    assert best < EPOCHS * NUM_BATCHES == run.state.global_step
    assert callback.sparsifier.step == best
    assert callback.sparsifier.sparsity == pytest.approx(0.8859375)
    for name, mask in callback.sparsifier.masks.items():
        assert (model.get_parameter(name)[~mask] == 0).all()
    saved = load_file(Path(run.state.best_model_checkpoint) / "model.safetensors")
    assert all(torch.equal(value, saved[name]) for name, value in model.state_dict().items())


def test_a_second_training_has_masks_of_its_own(tmp_path):
    callback = SparsifierCallback(method())
    run = trainer(tmp_path, callback)
    run.train()
    first = callback.sparsifier
    run.train()
    assert callback.sparsifier is not first and callback.sparsifier.step == first.step


def test_the_optimizer_is_free_after_the_training(tmp_path):
    callback = SparsifierCallback(method())
    run = trainer(tmp_path, callback)
    run.train()
    run.pop_callback(callback)
    before = copy.deepcopy(run.model.state_dict())
    run.train()
    assert any(not torch.equal(before[name], value) for name, value in run.model.state_dict().items())


@pytest.mark.parametrize(
    ("callback", "keys", "words"),
    [
        (lambda: SparsifierCallback(METHODS["str"](sf=0.5)), {}, "rename the model's weights"),
        (
            lambda: SparsifierCallback(method()),
            {"restore_callback_states_from_checkpoint": True},
            "set it to False: the masks are restored without it",
        ),
    ],
)
def test_what_does_not_go_is_one_line(tmp_path, callback, keys, words):
    with pytest.raises(UserError, match=re.escape(words)) as error:
        trainer(tmp_path, callback(), **keys).train()
    assert "\n" not in str(error.value)


def test_a_checkpoint_of_a_dense_training_is_not_taken_for_a_sparse_one(tmp_path):
    dense = trainer(tmp_path, SparsifierCallback(method()), save_strategy="steps", save_steps=6)
    dense.pop_callback(SparsifierCallback)
    dense.train()
    with pytest.raises(UserError, match="has no masks: it is of a training without SparsifierCallback"):
        trainer(tmp_path, SparsifierCallback(method())).train(resume_from_checkpoint=True)


def test_the_sparsifier_is_not_there_before_the_training():
    with pytest.raises(UserError, match="is made when training begins"):
        _ = SparsifierCallback(method()).sparsifier
