"""The rows of docs/results.csv, one per finished run that trained a network."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from granet.common.keys import keys_of
from granet.data.config import DataConfig
from granet.training.config import TrainConfig
from granet.training.history import accuracies
from pipeline.report.evidence.sheet import Row, Sheet
from pipeline.report.results import OTHERS
from pipeline.training.folder import RunFolder
from pipeline.training.stages import STAGES

COLUMNS: dict[str, type] = {
    **dict.fromkeys(("experiment", "run", "stage", "dataset", "model", "section", "method"), str),
    **{"sparsity": float, "rewind": str, "network": str, "seed": int, "epochs": int, "kernels": str},
    **dict.fromkeys(
        ("test_accuracy_last", "test_accuracy_best_val", "test_accuracy_selected_on_test"), float
    ),
    **{
        "val_accuracy_last": float,
        "sparsity_reached": float,
        "final_sparsity_epoch": int,
        "empty_layers": str,
    },
    **dict.fromkeys(
        ("training_flops", "training_flops_dense", "inference_flops", "inference_flops_dense"), int
    ),
    **dict.fromkeys(("num_train", "num_val", "num_test"), int),
    **{"image_shape": str, "num_classes": int, "time_s": float},
    **dict.fromkeys(
        ("weights", "hardware", "precision", "arithmetic", "python", "torch", "torchvision", "granet"), str
    ),
    **dict.fromkeys(("git_revision", "git_dirty", "code", "data_md5", "config"), str),
}
"""Name -> type. ``kernels`` is what params.yaml asked for, ``arithmetic`` what computed; ``config`` is `digest`.
``weights`` are those of the accuracies, where they are not the last ones."""
NEEDED = frozenset({"experiment", "run", "stage", "epochs", "kernels", "test_accuracy_last", "config"})
SHEET = Sheet(Path("docs/results.csv"), COLUMNS, NEEDED)
INDIFFERENT = {
    name: {key for key, about in keys_of(config).items() if not about.decides_result}
    for name, config in (("data", DataConfig), ("train", TrainConfig))
}
INDIFFERENT["data"].add("root")  # what lies there says the md5
"""Keys of a run's configuration, by section, that do not decide its result."""


def digest(config: Mapping[str, Any]) -> str:
    """Of all in a run's configuration that decides its result, the seed included."""
    kept = {
        name: {key: value for key, value in part.items() if key not in INDIFFERENT[name]}
        if name in INDIFFERENT
        else part
        for name, part in config.items()
    }
    return hashlib.blake2b(json.dumps(kept, sort_keys=True).encode(), digest_size=8).hexdigest()


def row_of(folder: RunFolder) -> Row:
    """One finished run."""
    summary, history = folder.summary, folder.history()
    last, accuracy = history.iloc[-1], accuracies(history.to_dict("records"), summary.final_sparsity_epoch)
    config, flops, images = summary.config, summary.flops, summary.num_images
    environment, section = summary.environment, config.get("method")
    return {
        "experiment": summary.tracking["experiment"],
        "run": f"{config['stage']}@{summary.name}",
        **{
            key: config.get(key)
            for key in ("stage", "dataset", "model", "sparsity", "rewind", "network", "seed")
        },
        "section": section,
        "method": config.get("hyperparameters", {}).get("method", section),
        "epochs": summary.epochs,
        "kernels": config.get("train", {}).get("kernels"),
        "test_accuracy_last": accuracy["test_accuracy_last"],
        "test_accuracy_best_val": accuracy["test_accuracy_best_val"],
        "test_accuracy_selected_on_test": accuracy["test_accuracy_best_test"],
        "val_accuracy_last": last.get("val_accuracy"),
        "sparsity_reached": summary.sparsity,
        "final_sparsity_epoch": summary.final_sparsity_epoch,
        "empty_layers": " ".join(summary.empty_layers),
        **{f"{name}_flops": flops[name] for name in ("training", "inference")},
        **{f"{name}_flops_dense": flops[f"{name}_dense"] for name in ("training", "inference")},
        **{f"num_{split}": images.get(split, 0) for split in ("train", "val", "test")},
        "image_shape": "x".join(map(str, summary.image_shape)),
        "num_classes": summary.num_classes,
        "time_s": round(summary.time_s, 1),
        "weights": environment.get("weights"),
        "arithmetic": environment.get("kernels"),
        **{
            name: environment.get(name)
            for name in ("hardware", "precision", "python", "torch", "torchvision")
        },
        **{
            name: environment.get(name)
            for name in ("granet", "git_revision", "git_dirty", "code", "data_md5")
        },
        "config": digest(config),
    }


def found(root: Path) -> Iterator[Row]:
    """The finished runs below a folder that trained a network; those of a chain or of a soup lie a folder deeper."""
    for path in sorted(root.glob("*/**/summary.json")):
        stage = path.relative_to(root).parts[0]
        if stage in STAGES and stage not in OTHERS:
            yield row_of(RunFolder(path.parent))


def merged(old: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """All rows in their order; a new one takes the place of the old one of the same run and configuration."""
    rows = {(row["experiment"], row["run"], row["config"]): row for row in (*old, *new)}
    return sorted(rows.values(), key=_place)


def _place(row: Row) -> tuple[Any, ...]:
    names = ("experiment", "dataset", "model")
    then = ("section", "rewind", "network", "sparsity", "seed", "kernels", "config")
    texts = [row[name] or "" for name in names]
    return *texts, list(STAGES).index(row["stage"]), *((row[name] is not None, row[name]) for name in then)
