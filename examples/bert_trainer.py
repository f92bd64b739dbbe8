"""Hugging Face's Trainer: a tiny BERT, from random weights, tells prose from code, by 64 characters of either.

The prose is Python's manual (pydoc's topics), the code some of its modules; both come with Python.

    python -m examples.bert_trainer
"""

import argparse
import inspect
import tarfile
import tempfile
import typing
import warnings
from pydoc_data import topics

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)

from granet import METHODS, save_sparse
from granet.integrations.transformers import SparsifierCallback

LENGTH, EACH, STEPS = 64, 1200, 120
"""Characters of an example, examples of each class, and optimizer steps."""


def pieces(text: str, label: int) -> list[dict[str, torch.Tensor]]:
    """The beginning of a text as examples; a character is a token."""
    codes = torch.tensor(list(" ".join(text.split()).encode("ascii", "ignore")[: EACH * LENGTH]))
    return [{"input_ids": tokens_L, "labels": torch.tensor(label)} for tokens_L in codes.split(LENGTH)]


def right(outputs) -> dict[str, float]:
    """Share of the examples that are classified right."""
    return {"right": float((outputs.predictions.argmax(-1) == outputs.label_ids).mean())}


def main() -> None:
    """Train densely and with GraNet at 80 %, by a callback; the sparse model is written with its configuration."""
    warnings.filterwarnings(
        "ignore", message=".*of the weights stay dense"
    )  # embeddings are no matrices to mask
    prose = pieces("\n".join(topics.topics.values()), 0)
    code = pieces("\n".join(map(inspect.getsource, (argparse, tarfile, typing))), 1)
    train, test = [*prose[:1000], *code[:1000]], [*prose[1000:], *code[1000:]]
    config = BertConfig(
        vocab_size=128, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128
    )
    for name, method in {
        "dense": METHODS["dense"](),
        "granet": METHODS["granet"](sf=0.8, update_interval=5),
    }.items():
        set_seed(0)
        model, callback = BertForSequenceClassification(config), SparsifierCallback(method, seed=0)
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                output_dir=folder,
                max_steps=STEPS,
                per_device_train_batch_size=32,
                per_device_eval_batch_size=100,
                learning_rate=2e-3,
                use_cpu=True,
                save_strategy="no",
                logging_strategy="no",
                report_to="none",
                disable_tqdm=True,
                dataloader_pin_memory=False,
            )
            trainer = Trainer(model, arguments, train_dataset=train, eval_dataset=test, compute_metrics=right)
            trainer.pop_callback(PrinterCallback)
            trainer.add_callback(callback)
            trainer.train()
            accuracy = trainer.evaluate()["eval_right"]
            size = save_sparse(folder, model, callback.sparsifier.masks, config=config.to_dict())
        sparsity = callback.sparsifier.sparsity
        print(f"{name:7} {sparsity:6.2%} sparse, {accuracy:.1%} right, {size / 1000:.0f} kB on disk")


if __name__ == "__main__":
    main()
