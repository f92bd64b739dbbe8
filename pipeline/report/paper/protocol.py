"""The paper's protocol, and how ours departs from it."""

from typing import Any

from pipeline.params.schema import Params
from pipeline.report.paper.numbers import IMAGENET, family_of, in_print, records, rows
from pipeline.report.results import Results, once


def protocol(dataset: str) -> dict[str, Any]:
    """How the paper trains on a data set; empty where it has none of its results."""
    return in_print()["protocols"].get(dataset, {})


def settings() -> list[tuple[str, str]]:
    """The rows of Table 1: (model, data set)."""
    places = [(row, model, dataset) for row, dataset, model, *_ in records() if dataset != IMAGENET]
    return [(model, dataset) for row, model, dataset in places if row == "dense"]


def differences(results: Results, dataset: str, *, methods: bool = True) -> list[str]:
    """How the runs on a data set depart from the paper's protocol, one phrase each; the number of seeds aside.

    Without ``methods``: the settings of the grid's methods do not count.
    """
    params, runs, printed = results.params, results.on(dataset), protocol(dataset)
    if runs.empty or not printed:
        return []
    train = vars(params.train) | {"epochs": params.train.total_epochs}
    pairs = [(key, train[key], value) for key, value in printed["train"].items()]
    same_batch = train["batch_size"] == printed["train"]["batch_size"]
    texts = {key: once(runs[key].tolist(), "{:,}".format) for key in ("num_train", "num_test")}
    texts["image_size"] = str(params.data.image_size or "")
    texts["images_per_norm"] = str(params.train.images_per_norm) if same_batch else ""
    if methods:
        steps_per_epoch = -(-int(runs["num_train"].iloc[0]) // train["batch_size"])
        texts |= _times(params, steps_per_epoch, dataset)
    pairs += [(key, ours, f"{printed[key]:,}") for key, ours in texts.items() if ours and key in printed]
    return [_phrase(key, ours, value) for key, ours, value in pairs if ours != value]


def _phrase(key: str, ours: Any, printed: Any) -> str:
    text = in_print()["departures"]["fewer_epochs" if key == "epochs" and ours < printed else key]
    text = text.format(ours=ours, printed=printed, used="with" if ours else "without")
    return text.replace("every 1 steps", "every step")


def _times(params: Params, steps_per_epoch: int, dataset: str) -> dict[str, str]:
    """When masks are updated and pruning ends, of the rows that the paper's authors trained and the grid has."""
    intervals, ends = [], []
    for row in rows(family_of(dataset)).values():
        section = None if row.quoted or row.stage in ("dense", "reinit") else row.find(params)
        if section is None:
            continue
        method = params.method(section, params.grid.sparsities[0], steps_per_epoch)
        intervals += [f"{method.update_interval:,}"] if method.update_interval else []
        if (phase := method.prune) is not None:
            epochs = params.train_config(section).total_epochs
            tf = phase.auto * epochs * steps_per_epoch if phase.tf is None else phase.tf
            ends.append(f"{round(tf / steps_per_epoch, 1):g}")
    found = {"update_interval": intervals, "pruning_epochs": ends}
    return {key: " or ".join(dict.fromkeys(texts)) for key, texts in found.items()}


def seeds_missing(params: Params) -> list[str]:
    """The same for the number of seeds: on ImageNet the paper has one."""
    num_seeds = len(params.grid.seeds)
    printed = protocol(IMAGENET if params.grid.datasets == [IMAGENET] else "cifar10")["seeds"]
    return [f"{num_seeds} of {printed} seeds"] if num_seeds < printed else []
