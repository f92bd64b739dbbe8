"""The program that logs a run to MLflow, and the only user of MLflow. The client starts it and tells it what to log.

Usage, to make the database before several runs write to it: python -m pipeline.tracking.server
"""

import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from granet.types import UserError
from pipeline.cli import run_main
from pipeline.tracking import artifacts
from pipeline.workspace import LOCAL_DATABASE, root, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

# A server that is down must not hold up training: without these, MLflow retries every call for minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


def connect() -> "MlflowClient":
    """A client whose database is ready for use."""
    import logging

    for name in ("alembic", "mlflow.store.db.utils"):  # they tell at length how a database is made
        logging.getLogger(name).setLevel(logging.WARNING)
    from mlflow import MlflowClient

    uri = tracking_uri()
    os.chdir(
        root()
    )  # what a relative address counts from; a folder's name may have characters that no address can
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


class _Run:
    """The other end: what `Tracker`'s process does for each call."""

    def __init__(self) -> None:
        self._client = connect()
        self._experiment = self._experiment_id = self._run_id = ""
        self._logged: set[int] = set()
        self._outer: list[tuple[str, set[int]]] = []

    def start(self, experiment: str, name: str, params: dict, tags: dict, resume_file: str | None) -> None:
        from mlflow.entities import Param, RunTag

        self._experiment = experiment
        file = Path(resume_file) if resume_file else None
        if file and file.exists() and self._reopen(file.read_text()):
            return
        self._experiment_id = _experiment_id(self._client, experiment)
        self._run_id = self._client.create_run(self._experiment_id, run_name=name).info.run_id
        self._client.log_batch(
            self._run_id,
            params=[Param(key, str(value)) for key, value in params.items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(self._run_id)

    def nest(self, name: str, params: dict, resume_file: str) -> None:
        self._outer.append((self._run_id, self._logged))
        self._logged = set()
        self.start(self._experiment, name, params, {"mlflow.parentRunId": self._run_id}, resume_file)

    def unnest(self, status: str) -> None:
        self._client.set_terminated(self._run_id, status)
        self._run_id, self._logged = self._outer.pop()

    def _reopen(self, run_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            self._client.update_run(run_id, status="RUNNING")
            self._experiment_id = self._client.get_run(run_id).info.experiment_id
            self._logged = {m.step for m in self._client.get_metric_history(run_id, "train_loss")}
        except MlflowException:  # the database was replaced since: start a new run
            return False
        self._run_id = run_id
        return True

    def metrics(self, values: dict[str, float | None], step: int) -> None:
        from mlflow.entities import Metric

        if "train_loss" in values and step in self._logged:
            return
        now = int(time.time() * 1000)
        metrics = [Metric(key, value, now, step) for key, value in values.items() if value is not None]
        self._client.log_batch(self._run_id, metrics=metrics)

    def artifacts(self, paths: list[str]) -> None:
        for path in paths:
            self._client.log_artifact(self._run_id, path)

    def where(self) -> None:
        known = {"experiment": self._experiment, "experiment_id": self._experiment_id, "run_id": self._run_id}
        print(json.dumps({key: value or None for key, value in known.items()}), flush=True)

    def finish(self, status: str) -> None:
        while self._outer:
            self.unnest(status)
        if self._run_id:
            self._client.set_terminated(self._run_id, status)
            self._run_id = ""


def serve() -> None:
    """Do what the lines on standard input say; the first failure ends it, with one line on stderr."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the caller too, which says how the run ends
    replies, sys.stdout = sys.stdout, sys.stderr  # MLflow may print; only `where` answers
    try:
        run = _Run()
        for line in sys.stdin:
            call = json.loads(line)
            name = call.pop("call")
            if name == "where":
                sys.stdout = replies
            getattr(run, name)(**call)
            sys.stdout = sys.stderr
        run.finish("KILLED")  # the caller is gone without a word
    except Exception as error:  # whatever a tracking server does, the training run goes on
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        line = f"warning: MLflow at {tracking_uri()} failed, this run is tracked no further: {reason}"
        print(re.sub(r"//[^/@\s]+@", "//", line), file=sys.stderr)  # an address may hold a password


def main(arguments: list[str]) -> None:
    """Make the database and its tables."""
    connect()
    print(f"MLflow: {tracking_uri()} is ready")


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    else:
        run_main(main, __doc__, sys.argv[1:])
