"""MLflow, in one place. Training never waits for it and never fails because of it: history.csv is the record.

python -m pipeline.tracking        make the database, once, before several runs write to it
"""

import os
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from mlflow import MlflowClient

# A server that is down must not hold up training: without these, MLflow retries every call for minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


def root() -> Path:
    """The user's workspace: under a queued DVC experiment the parent repository, else the working folder."""
    return Path(os.environ.get("DVC_ROOT", ".")).resolve()


def tracking_uri() -> str:
    """$MLFLOW_TRACKING_URI where set, else the workspace's own SQLite database."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root() / 'mlflow.db'}"


@contextmanager
def _database_lock():
    """Several processes that open a new SQLite database at once kill each other's migration."""
    import fcntl

    with (root() / "mlflow.db.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def connect() -> "MlflowClient":
    """A client whose database is ready for use."""
    import logging

    logging.getLogger("alembic").setLevel(logging.WARNING)
    from mlflow import MlflowClient

    uri = tracking_uri()
    if uri.startswith("sqlite:"):
        with _database_lock():
            client = MlflowClient(uri)
            client.search_experiments(max_results=1)
            return client
    return MlflowClient(uri)


def _experiment_id(client: "MlflowClient", name: str) -> str:
    """The experiment of that name, made where missing; artifacts of a local database lie beside it."""
    from mlflow.exceptions import MlflowException

    if (found := client.get_experiment_by_name(name)) is not None:
        return found.experiment_id
    local = tracking_uri().startswith("sqlite:")
    location = (root() / "mlartifacts" / name).as_uri() if local else None
    try:
        return client.create_experiment(name, artifact_location=location)
    except MlflowException:  # another process was faster
        if (found := client.get_experiment_by_name(name)) is not None:
            return found.experiment_id
        raise


class Tracker:
    """One MLflow run, written by a thread of its own, in order; also MLflow's slow import happens there.

    ``resume_file`` keeps the run's id beside the checkpoint, so that a resumed run goes on in the same MLflow run.
    The first failure turns tracking off for this run, with one line on stderr.
    """

    def __init__(
        self,
        experiment: str,
        name: str,
        *,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        resume_file: Path | None = None,
    ) -> None:
        self.run_id: str | None = None
        self.experiment_id: str | None = None
        self.experiment = experiment
        self._failed = False
        self._logged: set[int] = set()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mlflow")
        self._submit(lambda: self._start(name, params, tags, resume_file))

    def _submit(self, call: Callable[[], None]) -> Future[None]:
        return self._worker.submit(self._guard, call)

    def _guard(self, call: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            call()
        except Exception as error:  # whatever a tracking server does, the training run goes on
            self._failed = True
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            print(
                f"warning: MLflow at {tracking_uri()} failed, tracking is off for this run: {reason}",
                file=sys.stderr,
            )

    def _start(
        self, name: str, params: Mapping[str, Any], tags: Mapping[str, str], resume_file: Path | None
    ) -> None:
        self._client = connect()
        if resume_file is not None and resume_file.exists() and self._reopen(resume_file.read_text()):
            return
        from mlflow.entities import Param, RunTag

        self.experiment_id = _experiment_id(self._client, self.experiment)
        run = self._client.create_run(self.experiment_id, run_name=name)
        self.run_id = run.info.run_id
        self._client.log_batch(
            self.run_id,
            params=[Param(key, str(value)) for key, value in params.items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
        if resume_file is not None:
            resume_file.parent.mkdir(parents=True, exist_ok=True)
            resume_file.write_text(self.run_id)

    def _reopen(self, run_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            self._client.update_run(run_id, status="RUNNING")
            self.experiment_id = self._client.get_run(run_id).info.experiment_id
            self._logged = {m.step for m in self._client.get_metric_history(run_id, "train_loss")}
        except MlflowException:  # the database was replaced since: start a new run
            return False
        self.run_id = run_id
        return True

    def metrics(self, values: Mapping[str, float | None], step: int) -> None:
        """Log numbers at a step; a step already logged before a resumption is skipped."""
        self._submit(lambda: self._log_metrics(values, step))

    def _log_metrics(self, values: Mapping[str, float | None], step: int) -> None:
        import time

        from mlflow.entities import Metric

        if step in self._logged or self.run_id is None:
            return
        now = int(time.time() * 1000)
        metrics = [Metric(key, value, now, step) for key, value in values.items() if value is not None]
        self._client.log_batch(self.run_id, metrics=metrics)

    def artifacts(self, *paths: Path) -> None:
        """Attach files to the run."""
        for path in paths:
            self._submit(lambda path=path: self._client.log_artifact(self.run_id, str(path)))

    def wait(self) -> dict[str, str | None]:
        """Where the run is, once everything logged so far is written; ids are None where tracking failed."""
        self._submit(lambda: None).result()
        return {"experiment": self.experiment, "experiment_id": self.experiment_id, "run_id": self.run_id}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the run: FINISHED, KILLED on Ctrl-C (a later run goes on in it), else FAILED."""
        status = "FINISHED" if kind is None else "KILLED" if kind is KeyboardInterrupt else "FAILED"
        self._submit(lambda: self._client.set_terminated(str(self.run_id), status))
        self._worker.shutdown(wait=True)


def flatten(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as dotted keys.

    >>> flatten({"train": {"lr": 0.1}, "seed": 0})
    {'train.lr': 0.1, 'seed': 0}
    """
    flat: dict[str, Any] = {}
    for key, value in section.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def main(arguments: list[str]) -> None:
    """Make the database and its tables."""
    connect()
    print(f"MLflow: {tracking_uri()} is ready")


if __name__ == "__main__":
    from pipeline.cli import run_main

    run_main(main, __doc__, sys.argv[1:])
