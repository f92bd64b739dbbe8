"""A sparse model as a folder that others can use: packed weights, what they are, and a card; the hub's layout."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from granet import masks as masks_
from granet.common.files import atomic, made, one_line
from granet.deploy.card import CARD, CONFIG, MODEL, Card
from granet.deploy.packed import load_packed, save_packed
from granet.types import Masks, Tensors, UserError

FORMAT = 1
"""Of the folder; a reader refuses another."""


@dataclass(frozen=True)
class SparseModel:
    """What `load_sparse` gives: tensors on the CPU, masks by weight, and config.json as it stands there."""

    weights: Tensors
    masks: Masks
    config: dict[str, Any]


def save_sparse(
    path: str | Path,
    model: nn.Module | Mapping[str, Tensor],
    masks: Masks,
    *,
    card: Card | None = None,
    config: Mapping[str, Any] | None = None,
) -> int:
    """Write ``model`` (or its state_dict) with its masks as a folder; return the size of its weights in bytes.

    The folder has model.safetensors (`granet.deploy.packed`), config.json (``config`` and, under "sparse", what is
    known of the sparsity) and README.md, the model card; no pickle. Each file is written whole or not at all, the
    weights first. Raises UserError for masks of another network, and where masked weights are not zero: after STR, DPF,
    SR-STE, Top-KAST or original GMP, `Sparsifier.finish` comes first.
    """
    folder, card = Path(path), card or Card()
    weights = model.state_dict() if isinstance(model, nn.Module) else model
    for layer, _, attribute in (name.rpartition(".") for name in masks):
        if f"{layer}.parametrizations.{attribute}.original".removeprefix(".") in weights:
            raise UserError(
                f"{layer}.{attribute} is still computed in the forward; call sparsifier.finish() before saving"
            )
    counts, shapes = masks_.num_active(masks), masks_.shapes(masks)
    layers, sparsity = masks_.layer_sparsity(counts, shapes), masks_.sparsity(counts, shapes)
    ours = {"format": FORMAT, "method": card.method, "sparsity": sparsity, "layer_sparsity": layers}
    try:
        text = json.dumps({**(config or {}), "sparse": ours}, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UserError(f"config: {error}; give values that JSON has") from None
    size = save_packed(made(folder) / MODEL, weights, masks)
    total = sum(mask.numel() for mask in masks.values())
    atomic(folder / CONFIG, text.encode() + b"\n")
    atomic(folder / CARD, card.markdown(sparsity, sum(counts.values()), total, layers).encode())
    return size


def load_sparse(path: str | Path, model: nn.Module | None = None) -> SparseModel:
    """What `save_sparse` wrote, put into ``model`` where one is given.

    Raises UserError for a folder that lacks a file or holds another format, and for a model of other tensors.
    """
    folder = Path(path)
    config = _config(folder / CONFIG)
    weights, masks = load_packed(folder / MODEL)
    if model is not None:
        _check_same(folder, weights, model.state_dict())
        model.load_state_dict(weights)
    return SparseModel(weights, masks, config)


def _check_same(folder: Path, weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Raise UserError, with the first tensor that differs, unless both have the same names and shapes."""
    shapes = [{name: tuple(value.shape) for name, value in of.items()} for of in (weights, own)]
    if odd := [name for name in {**shapes[0], **shapes[1]} if shapes[0].get(name) != shapes[1].get(name)]:
        here, there = (of.get(odd[0], "missing") for of in shapes)
        raise UserError(
            f"{one_line(folder)} is of another model: {odd[0]} is {here} in the file and {there} in the model "
            f"({len(odd)} tensors differ); build the model that was saved"
        )


def _config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{one_line(path)} is missing; give the folder that save_sparse wrote")
    try:
        config = json.loads(path.read_bytes())
        format_ = config["sparse"]["format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UserError(
            f"{one_line(path)} is no config.json of save_sparse; write the folder again"
        ) from None
    if format_ != FORMAT:
        raise UserError(
            f"{one_line(path)} has sparse.format {format_!r}, and this granet reads {FORMAT}; update it"
        )
    return config
