"""Where the report's numbers come from: the protocol, the machine, and each run in DVC and MLflow."""


# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# (pandas' types are wider than the values of a frame whose columns are known)

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pipeline.params.schema import Params
from pipeline.report.names import labels, run_name
from pipeline.report.paper.protocol import differences, protocol, seeds_missing
from pipeline.report.results import Other, Results, once
from pipeline.report.words import DATASET_NAMES, counted, duration, percent, setting, short_percent
from pipeline.training.cell import Group
from pipeline.workspace import root

if TYPE_CHECKING:
    from pandas import DataFrame


LOCAL_UI = "http://127.0.0.1:5000"
LOCAL_DATABASE = "sqlite:///mlflow.db"


def facts(results: Results) -> list[tuple[str, str]]:
    """All that a reader needs to judge the numbers, as (name, value)."""
    train, runs = results.params.train, results.runs
    drops = " and ".join(short_percent(drop) for drop in train.lr_drops)
    revisions = [
        revision[:10] + (" with uncommitted changes" if dirty == "true" else "")
        for revision, dirty in zip(runs["git_revision"], runs["git_dirty"], strict=True)
    ]
    pairs = [
        ("Seeds", ", ".join(map(str, results.params.grid.seeds))),
        ("Epochs", _epochs(results.params)),
        ("Batch size", str(train.batch_size)),
        (
            "Learning rate",
            f"{train.lr:g}"
            + (f", × {train.lr_factor:g} at {drops} of the run" if drops else "")
            + (f", {train.warmup_epochs:g} warm-up epochs" if train.warmup_epochs else ""),
        ),
        ("Optimizer", f"SGD, momentum {train.momentum:g}{', Nesterov' if train.nesterov else ''}"),
        ("Weight decay", f"{train.weight_decay:g}" + ("" if train.decay_norm else ", not on BatchNorm")),
        ("Label smoothing", f"{train.label_smoothing:g}"),
        ("Precision", once(runs["precision"].tolist())),
        ("Hardware", once(runs["hardware"].tolist())),
        ("PyTorch", once(runs["torch"].tolist())),
        ("Git revision", once(revisions)),
        ("MLflow experiment", once(runs["experiment"].tolist())),
        ("Training time", f"{duration(runs['time_s'].sum())} for {counted(len(runs), 'run')}"),
    ]
    if studies := results.finished("plasticity"):
        num_branches = sum(run.summary["num_branches"] for run in studies)
        seconds = sum(run.summary["time_s"] for run in studies)
        pruned = f"{num_branches:,} branches of {counted(len(studies), 'network')}"
        pairs.append(("Pruning plasticity", f"{duration(seconds)} for {pruned}"))
    for dataset, seen in runs.groupby("dataset", sort=False):
        pairs.append((f"Data, {dataset}", f"{images(seen)}; md5 {once(seen['data_md5'].tolist())}"))
    return pairs


def departures(results: Results) -> list[str]:
    """How the runs that stand beside the paper's numbers depart from its protocol, one phrase each."""
    by_dataset = {
        dataset: differences(results, dataset)
        for dataset in results.params.grid.datasets
        if protocol(dataset) is not None and len(results.on(dataset))
    }
    phrases = list(dict.fromkeys(phrase for several in by_dataset.values() for phrase in several))
    common = [phrase for phrase in phrases if all(phrase in several for several in by_dataset.values())]
    special = [
        f"{phrase} on {DATASET_NAMES[dataset]}"
        for dataset, several in by_dataset.items()
        for phrase in several
        if phrase not in common
    ]
    return [*common, *special, *(seeds_missing(results.params) if by_dataset else [])]


def images(runs: "DataFrame") -> str:
    """How many images some runs saw."""
    if runs.empty:
        return "no run yet"
    num = {split: once(runs[f"num_{split}"].tolist(), "{:,}".format) for split in ("train", "val", "test")}
    held_out = "none" if num["val"] == "0" else num["val"]
    return f"{num['train']} training images, {held_out} held out, {num['test']} test images"


def _epochs(params: Params) -> str:
    """Of a run; those of a section that trains longer beside it."""
    names, common = labels(params), params.train.total_epochs
    sections = (*params.grid.methods, *params.grid.after)
    epochs = {section: params.train_config(section).total_epochs for section in sections}
    longer = [f"{names[section]} {number}" for section, number in epochs.items() if number != common]
    return ", ".join([str(common), *longer])


def run_groups(results: Results, uri: str) -> list[dict[str, Any]]:
    """The runs behind each mean, under the anchor (``id``) that the numbers link to."""
    listed = [(run.cell.group, _run(run, uri)) for run in results.runs.itertuples()]
    listed += [(other.cell.group, _other(other, uri)) for other in results.others]
    groups: dict[Group, list[dict[str, str | None]]] = {}
    for group, run in listed:
        groups.setdefault(group, []).append(run)
    return [
        {"id": group.name, "title": _title(results.params, group), "runs": runs}
        for group, runs in groups.items()
    ]


def _title(params: Params, group: Group) -> str:
    parts = [setting(group.dataset, group.model), run_name(params, group)]
    return " · ".join(parts + ([short_percent(group.sparsity)] if group.sparsity is not None else []))


def _run(run: Any, uri: str) -> dict[str, str | None]:
    return {
        "stage": run.dvc_stage,
        "accuracy": percent(run.last),
        "sparsity": percent(run.final_sparsity),
        "time": duration(run.time_s),
        "run_id": run.run_id,
        "url": mlflow_url(uri, run.experiment_id, run.run_id),
    }


def _other(run: Other, uri: str) -> dict[str, str | None]:
    """A plasticity or export run: it has no accuracy, and an export is neither timed nor tracked."""
    tracking, seconds = run.summary.get("tracking", {}), run.summary.get("time_s")
    run_id = tracking.get("run_id") or ""
    return {
        "stage": run.cell.dvc_stage,
        "accuracy": "",
        "sparsity": "",
        "time": "" if seconds is None else duration(seconds),
        "run_id": run_id,
        "url": mlflow_url(uri, tracking.get("experiment_id") or "", run_id),
    }


def mlflow_url(uri: str, experiment_id: str, run_id: str) -> str | None:
    """A run's page on its MLflow server, or on the local one that `mlflow ui` starts; None where it was not tracked.

    >>> mlflow_url("https://me:secret@host/mlflow/", "7", "a1")
    'https://host/mlflow/#/experiments/7/runs/a1'
    >>> mlflow_url("sqlite:///mlflow.db", "7", "a1")
    'http://127.0.0.1:5000/#/experiments/7/runs/a1'
    """
    if not (experiment_id and run_id):
        return None
    return f"{_server(uri) or LOCAL_UI}/#/experiments/{experiment_id}/runs/{run_id}"


def how_to_open(uri: str) -> str:
    """The server's address, or the command that serves the database.

    An address may hold a password: a server's is left out, and a database other than the workspace's is not shown.

    >>> how_to_open("http://me:secret@host:5000"), how_to_open("postgresql://me:secret@host/db")
    ('http://host:5000', 'mlflow ui --backend-store-uri "$MLFLOW_TRACKING_URI"')
    """
    if server := _server(uri):
        return server
    is_local = uri in (LOCAL_DATABASE, f"sqlite:///{root() / 'mlflow.db'}")
    database = LOCAL_DATABASE if is_local else '"$MLFLOW_TRACKING_URI"'
    return f"mlflow ui --backend-store-uri {database}"


def _server(uri: str) -> str | None:
    """An http(s) address without user and password; None for a database."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https"):
        return None
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")
