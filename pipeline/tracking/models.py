"""Trained networks in MLflow: each a logged model of its run, and on request the best of each cell in the registry."""

import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from granet.common.files import link_or_copy

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

LOADER = "pipeline.training.served"
"""The module that reads a logged model: mlflow.pyfunc.load_model finds its name in the file MLmodel."""
KEY, CELL = "granet.key", "granet.cell"
"""Tags: by what a run or a model is found again, and the cell of a table that a run belongs to."""
NEWEST = "attributes.start_time DESC"
SCORES = ("val_accuracy", "test_accuracy_last")
"""What tells the best run of a cell: the first that its runs have. Both are of the last epoch, as the model is."""
NAMED_OTHERWISE = str.maketrans(dict.fromkeys("/:.%\"'", "_"))
"""MLflow refuses these in the name of a logged model, and runs are named by their sparsity: 0.9 becomes 0_9 there."""


def log_model(
    client: "MlflowClient",
    ids: dict[str, str],
    name: str,
    files: Sequence[Path],
    shapes: tuple[Sequence[int], Sequence[int]],
) -> str:
    """Make a run's logged model of its files, once; returns its id. ``shapes``: of an image, and of its logits."""
    experiment, key = [ids["experiment_id"]], f"model of {ids['run_id']}"
    found = client.search_logged_models(experiment, f"tags.`{KEY}` = '{key}'", max_results=1)
    if found and str(found[0].status) == "READY":
        return found[0].model_id
    tags = {KEY: key, **_source_of(client, ids["run_id"])}
    model = (
        found[0]
        if found
        else client.create_logged_model(
            ids["experiment_id"],
            name.translate(NAMED_OTHERWISE),
            ids["run_id"],
            tags,
            model_type="classifier",
        )
    )
    with tempfile.TemporaryDirectory(dir=files[0].parent) as folder:
        for file in files:
            link_or_copy(file, Path(folder) / file.name)
        (Path(folder) / "MLmodel").write_text(_about(model.model_id, ids["run_id"], *shapes))
        client.log_model_artifacts(model.model_id, folder)
    client.finalize_logged_model(model.model_id, "READY")
    return model.model_id


def _source_of(client: "MlflowClient", run_id: str) -> dict[str, str]:
    """MLflow's own tags of where the run comes from: it shows a model's where the model has them too."""
    tags = client.get_run(run_id).data.tags
    return {name: tags[name] for name in tags if name == "mlflow.user" or name.startswith("mlflow.source.")}


def _about(model_id: str, run_id: str, image: Sequence[int], logits: Sequence[int]) -> str:
    """The file MLmodel: who reads the others, and what goes in and comes out."""
    import platform

    import numpy as np
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    inputs, outputs = (
        Schema([TensorSpec(np.dtype("float32"), (-1, *shape), name)])
        for name, shape in (("images", image), ("logits", logits))
    )
    about = Model(run_id=run_id, model_id=model_id, signature=ModelSignature(inputs, outputs))
    about.add_flavor(
        "python_function", loader_module=LOADER, data=".", python_version=platform.python_version()
    )
    return about.to_yaml()


def register(client: "MlflowClient", experiment_id: str, alias: str) -> list[tuple[str, str, str]]:
    """Give the best model of each cell of an experiment the ``alias`` in the registry: (cell, version, run) each.

    A cell is a registered model; what has the alias already keeps its version. Of runs of a cell that had other
    parameters than its newest one, beside the seed and what decides no result, none is taken.
    """
    by_cell: dict[str, list[Run]] = {}
    for run in _finished(client, experiment_id):  # the newest first
        by_cell.setdefault(run.data.tags[CELL], []).append(run)
    done = []
    for cell, runs in sorted(by_cell.items()):
        run = max((one for one in runs if _settings(one) == _settings(runs[0])), key=_score)
        models = client.search_logged_models(
            [experiment_id], f"source_run_id = '{run.info.run_id}'", max_results=1
        )
        if models:
            version = _version(client, cell, models[0].model_id, run.info.run_id)
            client.set_registered_model_alias(cell, alias, version)
            done.append((cell, version, run.info.run_name or run.info.run_id))
    return done


def _finished(client: "MlflowClient", experiment_id: str) -> "Iterator[Run]":
    wanted, token = f"tags.`{CELL}` != '' and attributes.status = 'FINISHED'", None
    while True:
        page = client.search_runs([experiment_id], wanted, order_by=[NEWEST], page_token=token)
        yield from page
        if not (token := page.token):
            return


def _settings(run: "Run") -> dict[str, str]:
    """What decides a run's result, as MLflow has it; the seed aside."""
    return {key: value for key, value in run.data.params.items() if key not in _indifferent()}


@cache
def _indifferent() -> set[str]:
    """Parameters in which runs of one mean may differ."""
    from granet.common.keys import keys_of  # torch, which who sends a journal has no use for
    from granet.data.config import DataConfig
    from granet.training.config import TrainConfig

    configs = {"data": DataConfig, "train": TrainConfig}
    keys = {(name, key): about for name, config in configs.items() for key, about in keys_of(config).items()}
    return {"seed", "member", "begun", "data.root"} | {
        f"{name}.{key}" for (name, key), about in keys.items() if not about.decides_result
    }


def _score(run: "Run") -> float:
    return next((run.data.metrics[name] for name in SCORES if name in run.data.metrics), -1.0)


def _version(client: "MlflowClient", cell: str, model_id: str, run_id: str) -> str:
    """The version of a registered model that is this logged model, made where missing."""
    if not client.search_registered_models(f"name = '{cell}'"):
        client.create_registered_model(cell, description="The cell of a table; its versions are runs of it.")
    for version in client.search_model_versions(f"name = '{cell}'"):
        if version.run_id == run_id:
            return str(version.version)
    made = client.create_model_version(cell, f"models:/{model_id}", run_id, model_id=model_id)
    return str(made.version)
