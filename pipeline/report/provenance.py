"""Where the report's numbers come from: the protocol, the machine, and each run in DVC and MLflow."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# (pandas' types are wider than the values of a frame whose columns are known)

from collections import Counter
from typing import Any
from urllib.parse import urlsplit

from pandas import DataFrame

from granet.training.config import TrainConfig
from pipeline.report.names import labels, run_name
from pipeline.report.paper.protocol import differences, protocol, seeds_missing
from pipeline.report.results import Results, once
from pipeline.report.words import DATASET_NAMES, counted, duration, percent, setting, short_percent
from pipeline.training.cell import Group
from pipeline.workspace import LOCAL_DATABASE

LOCAL_UI = "http://127.0.0.1:5000"
PRECISION = "fp32"
"""The paper's."""


def facts(results: Results) -> list[tuple[str, str]]:
    """All that a reader needs to judge the numbers, as (name, value)."""
    params, train, runs = results.params, results.params.train, results.runs
    revisions = [
        revision[:10] + (" with uncommitted changes" if dirty == "true" else "")
        for revision, dirty in zip(runs["git_revision"], runs["git_dirty"], strict=True)
    ]
    sections = (*params.grid.methods, *params.grid.after, *params.grid.chains)
    epochs = {labels(params)[one]: params.train_config(one).total_epochs for one in sections}
    longer = [f", {name} {number}" for name, number in epochs.items() if number != train.total_epochs]
    pairs = {
        "Seeds": ", ".join(map(str, params.grid.seeds)),
        "Epochs": f"{train.total_epochs}{''.join(longer)}",
        "Batch size": str(train.batch_size),
        **recipe(train),
        "Precision": once(runs["precision"].tolist()),
        "Kernels": train.kernels,
        "Hardware": once(runs["hardware"].tolist()),
        "PyTorch": once(runs["torch"].tolist()),
        "Git revision": once(revisions),
        "MLflow experiment": once(runs["experiment"].tolist()),
        "Training time": f"{duration(runs['time_s'].sum())} for {counted(len(runs), 'run')}",
    }
    if studies := results.finished("plasticity"):
        num_branches = sum(run.summary["num_branches"] for run in studies)
        seconds = duration(sum(run.summary["time_s"] for run in studies))
        pruned = f"{num_branches:,} branches of {counted(len(studies), 'network')}"
        pairs["Pruning plasticity"] = f"{seconds} for {pruned}"
    for dataset, seen in runs.groupby("dataset", sort=False):
        pairs[f"Data, {dataset}"] = f"{images(seen)}; md5 {once(seen['data_md5'].tolist())}"
    return list(pairs.items())


def recipe(train: TrainConfig) -> dict[str, str]:
    """How weights are trained, in words; what is not switched on is left out."""
    drops = " and ".join(short_percent(drop) for drop in train.drops)
    lr = f"{train.lr:g}" + (f", × {train.lr_factor:g} at {drops} of the run" if drops else "")
    if train.lr_schedule != "steps":
        lr += f", {train.lr_schedule} to {train.lr_final:g}"
    warmup = f", {train.warmup_epochs:g} warm-up epochs" if train.warmup_epochs else ""
    optimizer = f"SGD, momentum {train.momentum:g}{', Nesterov' if train.nesterov else ''}"
    if train.optimizer != "sgd":
        name, betas = {"adam": "Adam", "adamw": "AdamW"}[train.optimizer], " and ".join(map(str, train.betas))
        optimizer = f"{name}, betas {betas}, eps {train.eps:g}"
    norms = "" if train.decay_norm else ", not on BatchNorm"
    biases = "" if train.decay_bias else ", not on biases"
    strength = f"{train.randaugment} operations, magnitude {train.randaugment_magnitude}"
    parts = {
        "RandAugment": train.randaugment and strength,
        "erasing": train.erasing and f"{train.erasing:g}",
        "mixup": train.mixup and f"{train.mixup:g}",
        "CutMix": train.cutmix and f"{train.cutmix:g}",
    }
    images = ", ".join(f"{name} {text}" for name, text in parts.items() if text)
    average = f"their average, decay {train.ema_decay:g}" if train.ema_decay else ""
    texts = {
        "Learning rate": lr + warmup,
        "Optimizer": optimizer,
        "Weight decay": f"{train.weight_decay:g}{norms}{biases}",
        "Gradient clipping": f"norm {train.clip_norm:g}" if train.clip_norm else "",
        "Weights evaluated and saved": average,
        "Label smoothing": f"{train.label_smoothing:g}",
        "Distortion of images": images,
    }
    return {name: text for name, text in texts.items() if text}


def departures(results: Results) -> list[str]:
    """How the runs that stand beside the paper's numbers depart from its protocol, one phrase each.

    Precision is named, but unlike the others makes no setting another than the paper's (docs/deviations.md).
    """
    datasets = [name for name in results.params.grid.datasets if protocol(name) and len(results.on(name))]
    by_dataset = {name: differences(results, name) for name in datasets}
    counts = Counter(phrase for phrases in by_dataset.values() for phrase in phrases)
    common = [phrase for phrase in counts if counts[phrase] == len(datasets)]
    special = []
    for name, phrases in by_dataset.items():
        special += [f"{phrase} on {DATASET_NAMES[name]}" for phrase in phrases if phrase not in common]
    seen = [one for name in datasets for one in results.on(name)["precision"].dropna()]
    precision = [] if {*seen} <= {PRECISION} else [f"precision {once(seen)} instead of {PRECISION}"]
    return [*common, *special, *precision, *(seeds_missing(results.params) if datasets else [])]


def images(runs: DataFrame) -> str:
    """How many images some runs saw."""
    if runs.empty:
        return "no run yet"
    num = {split: once(runs[f"num_{split}"].tolist(), "{:,}".format) for split in ("train", "val", "test")}
    held_out = "none" if num["val"] == "0" else num["val"]
    return f"{num['train']} training images, {held_out} held out, {num['test']} test images"


def run_groups(results: Results, uri: str) -> list[dict[str, Any]]:
    """The runs behind each mean, under the anchor (``id``) that the numbers link to."""
    listed: list[tuple[Any, ...]] = [
        (run.cell, run.time_s, run.experiment_id, run.run_id, percent(run.last), percent(run.final_sparsity))
        for run in results.runs.itertuples()
    ]
    for other in results.others:  # without an accuracy; an export is neither timed nor tracked
        tracking = other.summary.get("tracking", {})
        ids = (tracking.get(key) or "" for key in ("experiment_id", "run_id"))
        listed.append((other.cell, other.summary.get("time_s"), *ids, "", ""))
    groups: dict[Group, list[dict[str, str | None]]] = {}
    for cell, seconds, experiment_id, run_id, accuracy, sparsity in listed:
        time, url = "" if seconds is None else duration(seconds), mlflow_url(uri, experiment_id, run_id)
        run = {"stage": cell.dvc_stage, "accuracy": accuracy, "sparsity": sparsity, "time": time}
        groups.setdefault(cell.group, []).append(run | {"run_id": run_id, "url": url})
    return [{"id": one.name, "title": _title(results, one), "runs": runs} for one, runs in groups.items()]


def _title(results: Results, group: Group) -> str:
    sparsity = "" if group.sparsity is None else f" · {short_percent(group.sparsity)}"
    return f"{setting(group.dataset, group.model)} · {run_name(results.params, group)}{sparsity}"


def mlflow_url(uri: str, experiment_id: str, run_id: str) -> str | None:
    """A run's page on its MLflow server, or on the local one that `mlflow ui` starts; None where it was not tracked."""
    if not (experiment_id and run_id):
        return None
    return f"{_server(uri) or LOCAL_UI}/#/experiments/{experiment_id}/runs/{run_id}"


def how_to_open(uri: str) -> str:
    """The server's address, or the command that serves the database.

    An address may hold a password: a server's is left out, and a database other than the workspace's is not shown.
    """
    if server := _server(uri):
        return server
    database = uri if uri == LOCAL_DATABASE else '"$MLFLOW_TRACKING_URI"'
    return f"mlflow ui --backend-store-uri {database}"


def _server(uri: str) -> str:
    """An http(s) address without user and password; empty for a database."""
    parts = urlsplit(uri)
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")
    return address if parts.scheme in ("http", "https") else ""
