"""How a journal becomes runs in MLflow: the only user of MLflow. When it is sent is `sending`'s.

Usage, to make the database before several runs write to it: python -m pipeline.tracking.server
"""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from granet.types import UserError
from pipeline.cli import run_main
from pipeline.tracking import artifacts
from pipeline.tracking.journal import Journal, Sent
from pipeline.tracking.models import KEY, log_model, register
from pipeline.workspace import LOCAL_DATABASE, address, root, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# Without these, MLflow retries every call for minutes. Here a call fails, and all that is unsent is sent later.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")


def import_mlflow() -> None:
    """So that later calls do not wait for it, nor for what they import. No database is opened."""
    import mlflow  # noqa: F401

    if tracking_uri().startswith("sqlite:"):
        from mlflow.store.tracking import sqlalchemy_store  # noqa: F401
        from sqlalchemy.orm import configure_mappers

        configure_mappers()


def connect() -> "MlflowClient":
    """A client whose database is ready for use."""
    import logging

    for name in ("alembic", "mlflow.store.db.utils"):  # they tell at length how a database is made
        logging.getLogger(name).setLevel(logging.WARNING)
    from mlflow import MlflowClient

    uri = tracking_uri()
    # What a relative address counts from; a folder's name may have characters that no address can.
    os.chdir(root())
    if not uri.startswith("sqlite:"):
        return MlflowClient(uri)
    # Several processes that open a new SQLite database at once kill each other's migration.
    with FileLock("mlflow.db.lock"):
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
        if uri == LOCAL_DATABASE:
            artifacts.follow(Path("mlflow.db").absolute())
    return client


def _experiment_id(client: "MlflowClient", name: str) -> str:
    """The experiment of that name, made where missing; artifacts of a local database lie in the workspace.

    Raises UserError where the user has deleted it: MLflow keeps its name.
    """
    from mlflow.exceptions import MlflowException

    if experiment := client.get_experiment_by_name(name):
        if experiment.lifecycle_stage == "deleted":
            raise UserError(
                f"experiment {name!r} was deleted; mlflow experiments restore -x {experiment.experiment_id} brings it "
                "back, and another tracking.experiment in params.yaml goes round it"
            )
        return experiment.experiment_id
    local = tracking_uri().startswith("sqlite:")
    location = artifacts.location(root(), name) if local else None
    kind = {"mlflow.experimentKind": "custom_model_development"}  # opens on the runs, not on GenAI traces
    try:
        return client.create_experiment(name, artifact_location=location, tags=kind)
    except MlflowException:  # another process was faster
        if experiment := client.get_experiment_by_name(name):
            return experiment.experiment_id
        raise


class Replaced(Exception):  # noqa: N818  (it is no error: all is sent anew)
    """MLflow does not know a run that it had: the database is another one, or somebody has deleted the run."""


class Sender:
    """Sends one journal: what is sent twice arrives once, since every call says when it was made, and in which run."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._client = connect()
        self._refused: set[str] = set()
        self._sent = journal.sent
        if self._sent.address != tracking_uri():
            self._sent = Sent(tracking_uri())

    def send(self) -> None:
        """Send what is left of the journal, or all of it where MLflow has lost the run. Raises what MLflow raises."""
        try:
            self._send_rest()
        except Replaced:
            self._sent = Sent(tracking_uri())
            self._send_rest()

    def _send_rest(self) -> None:
        for call, offset in self._journal.after(self._sent.offset):
            self._call(**call)
            self._sent.offset = offset
            self._journal.mark(self._sent)

    def _call(self, call: str, run: str, **arguments: Any) -> None:
        from mlflow.exceptions import MlflowException

        is_known = run in self._sent.runs
        try:
            getattr(self, f"_{call}")(run, **arguments)
        except MlflowException as error:
            is_refused = error.error_code in ("INVALID_PARAMETER_VALUE", "INVALID_STATE")
            if is_known and (
                error.error_code == "RESOURCE_DOES_NOT_EXIST" or (is_refused and call == "open")
            ):
                raise Replaced from error
            if call == "open" or not is_refused:
                raise
            if (
                reason := first_line(error)
            ) not in self._refused:  # it has read the call, and will never take it
                self._refused.add(reason)
                warn(f"MLflow at {address()} refuses some {call}, which it will not have: {reason}")

    def _open(
        self,
        run: str,
        time: int,
        experiment: str,
        name: str,
        params: dict,
        tags: dict,
        outer: str | None,
        key: str,
        table: str | None = None,
    ) -> None:
        from mlflow.entities import Param

        if run in self._sent.runs:
            self._client.update_run(self._id(run), status="RUNNING")
            return
        experiment_id = _experiment_id(self._client, experiment)
        tags = {**tags, KEY: key}  # by which it is found if the answer does not arrive
        if table is not None:
            tags["mlflow.parentRunId"] = self._table(experiment_id, table, time)
        if (
            outer is not None
        ):  # beside its parent, which an interrupted run may have begun in another experiment
            tags["mlflow.parentRunId"] = self._id(outer)
            experiment_id = self._sent.runs[outer]["experiment_id"]
        made = self._found(experiment_id, key) or self._client.create_run(
            experiment_id, time, tags, run_name=name
        )
        self._client.log_batch(
            made.info.run_id, params=[Param(key, str(value)) for key, value in params.items()]
        )
        self._sent.runs[run] = {"experiment_id": experiment_id, "run_id": made.info.run_id}

    def _found(self, experiment_id: str, key: str) -> "Run | None":
        found = self._client.search_runs([experiment_id], f"tags.`{KEY}` = '{key}'", max_results=1)
        return found[0] if found else None

    def _table(self, experiment_id: str, name: str, time: int) -> str:
        """The id of the run that all runs of a table are nested in, made where missing, by one process of several."""
        with FileLock("mlflow.db.lock"):
            if (run := self._found(experiment_id, f"table {name}")) is None:
                run = self._client.create_run(
                    experiment_id, time, {KEY: f"table {name}"}, run_name=f"table {name}"
                )
                self._client.set_terminated(run.info.run_id, "FINISHED", time)
        return run.info.run_id

    def _dataset(
        self, run: str, time: int, name: str, digest: str, source: str, profile: dict[str, Any]
    ) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        about = Dataset(name, digest, "local", json.dumps({"uri": source}), profile=json.dumps(profile))
        entry = DatasetInput(about, [InputTag("mlflow.data.context", "training")])
        self._client.log_inputs(self._id(run), [entry])

    def _model(
        self,
        run: str,
        time: int,
        name: str,
        files: list[str],
        image: list[int],
        logits: list[int],
        values: dict[str, float],
        step: int,
    ) -> None:
        from mlflow.entities import Metric
        from mlflow.exceptions import MlflowException

        self._metrics(run, time, step, values)
        folder, ids = self._journal.folder / "artifacts" / run, self._sent.runs[run]
        paths = [folder / file for file in files]
        try:
            model_id = log_model(self._client, ids, name, paths, (image, logits))
        except MlflowException as error:
            if error.error_code != "ENDPOINT_NOT_FOUND":  # a server before MLflow 3 has no such models
                raise
        else:  # the same numbers again: MLflow drops what it has, and knows now whose they are
            metrics = [Metric(key, value, time, step, model_id=model_id) for key, value in values.items()]
            self._client.log_batch(ids["run_id"], metrics=metrics)

    def _metrics(self, run: str, time: int, step: int, values: dict[str, float]) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(key, value, time, step) for key, value in values.items()]
        self._client.log_batch(self._id(run), metrics=metrics)

    def _artifacts(self, run: str, time: int, names: list[str]) -> None:
        for name in names:
            self._client.log_artifact(self._id(run), str(self._journal.folder / "artifacts" / run / name))

    def _curves(self, run: str, time: int, history: str, title: str) -> None:
        from pipeline.tracking import curves  # matplotlib is slow to import

        folder = self._journal.folder / "artifacts" / run
        curves.draw(folder / history, title, folder / "curves.png")
        self._client.log_artifact(self._id(run), str(folder / "curves.png"))
        if (masks := folder / "diagnostics.csv").exists() and curves.draw_layers(
            masks, title, folder / "layers.png"
        ):
            self._client.log_artifact(self._id(run), str(folder / "layers.png"))

    def _close(self, run: str, time: int, status: str) -> None:
        self._client.set_terminated(self._id(run), status, time)

    def _id(self, run: str) -> str:
        return self._sent.runs[run]["run_id"]

    def abandon(self) -> None:
        """Mark as killed the runs that nobody has closed: who wrote the journal is gone without a word."""
        left: dict[
            str, None
        ] = {}  # in order; a run that was killed and resumed is opened twice, and closed once
        for call, _ in self._journal.after(0):
            if call["call"] == "open":
                left[call["run"]] = None
            elif call["call"] == "close":
                left.pop(call["run"], None)
        for run in left:
            self._client.set_terminated(self._id(run), "KILLED")


def register_best(experiment: str, alias: str) -> list[tuple[str, str, str]]:
    """`models.register` by the experiment's name. Raises UserError where MLflow has none, or nothing that could be."""
    client = connect()
    import mlflow

    mlflow.set_tracking_uri(tracking_uri())  # the registry asks by itself what a model is
    found = client.get_experiment_by_name(experiment)
    done = register(client, found.experiment_id, alias) if found else []
    if not done:
        raise UserError(
            f"MLflow at {address()} has no finished model of experiment={experiment!r}; train one, or name another"
        )
    return done


def first_line(error: Exception) -> str:
    """What an error says, in short."""
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def warn(text: str) -> None:
    """One line on stderr."""
    print(f"warning: {text}", file=sys.stderr, flush=True)


def main(arguments: list[str]) -> None:
    """Make the database and its tables."""
    connect()
    print(f"MLflow: {tracking_uri()} is ready")


if __name__ == "__main__":
    run_main(main, __doc__, sys.argv[1:])
