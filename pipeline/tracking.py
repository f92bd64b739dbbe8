"""MLflow, in one place. Training never waits for it and never fails because of it: history.csv is the record.

A run is logged by a process of its own, which `Tracker` starts and tells what to log, one JSON line a call. So MLflow's
slow import costs the training nothing, and a server that hangs or dies costs it a warning.

Usage, to make the database before several runs write to it: python -m pipeline.tracking
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
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

    for name in ("alembic", "mlflow.store.db.utils"):  # they tell at length how a database is made
        logging.getLogger(name).setLevel(logging.WARNING)
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
        kind = {"mlflow.experimentKind": "custom_model_development"}  # opens on the runs, not on GenAI traces
        return client.create_experiment(name, artifact_location=location, tags=kind)
    except MlflowException:  # another process was faster
        if (found := client.get_experiment_by_name(name)) is not None:
            return found.experiment_id
        raise


class Tracker:
    """One MLflow run. Made early, so that MLflow is imported while the caller still gets ready; then `start`ed.

    Of the processes of one run, only one tracks it: ``active``.
    """

    def __init__(self, *, active: bool = True) -> None:
        self._started = False
        self._process: subprocess.Popen[str] | None = None
        if not active:
            return
        command = [sys.executable, "-m", "pipeline.tracking", "serve"]
        source = {"PYTHONPATH": str(Path(__file__).parents[1])}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | source
        )

    def _send(self, call: str, **arguments: Any) -> None:
        if self._process is None:
            return
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # the process has gone, and has said why
            print(json.dumps({"call": call, **arguments}), file=self._process.stdin, flush=True)

    def start(
        self,
        experiment: str,
        name: str,
        *,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        resume_file: Path | None = None,
    ) -> None:
        """Open the run. ``resume_file`` keeps its id, so that an interrupted run goes on in the same MLflow run."""
        self._started = True
        self._send(
            "start",
            experiment=experiment,
            name=name,
            params=dict(params),
            tags=dict(tags),
            resume_file=str(resume_file) if resume_file else None,
        )

    @contextmanager
    def nested(self, name: str, params: Mapping[str, Any], resume_file: Path) -> Iterator[None]:
        """Until the block ends, everything goes to a run of its own, nested in this one."""
        self._send("nest", name=name, params=dict(params), resume_file=str(resume_file))
        status = "FAILED"
        try:
            yield
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            self._send("unnest", status=status)

    def metrics(self, values: Mapping[str, float | None], step: int) -> None:
        """Log numbers at a step; an epoch already logged before a resumption is skipped."""
        self._send("metrics", values=dict(values), step=step)

    def artifacts(self, *paths: Path) -> None:
        """Attach files to the run."""
        self._send("artifacts", paths=[str(path) for path in paths])

    def wait(self) -> dict[str, str | None]:
        """Experiment and ids of the run, once all so far is logged; the ids are None where tracking failed."""
        self._send("where")
        line = self._process.stdout.readline() if self._process and self._process.stdout else ""
        return json.loads(line) if line else {"experiment": None, "experiment_id": None, "run_id": None}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the run: FINISHED, KILLED on Ctrl-C (a later run goes on in it), else FAILED."""
        if self._process is None:
            return
        if not self._started:
            self._process.kill()
        status = "FINISHED" if kind is None else "KILLED" if kind is KeyboardInterrupt else "FAILED"
        self._send("finish", status=status)
        self._process.communicate()


class _Run:
    """The other end: what `Tracker`'s process does for each call."""

    def __init__(self) -> None:
        self._client = connect()
        self._experiment: str | None = None
        self._experiment_id: str | None = None
        self._run_id = ""
        self._logged: set[int] = set()
        self._outer: list[tuple[str, set[int]]] = []

    def start(self, experiment: str, name: str, params: dict, tags: dict, resume_file: str | None) -> None:
        from mlflow.entities import Param, RunTag

        self._experiment = experiment
        if resume_file and Path(resume_file).exists() and self._reopen(Path(resume_file).read_text()):
            return
        self._experiment_id = _experiment_id(self._client, experiment)
        self._run_id = self._client.create_run(self._experiment_id, run_name=name).info.run_id
        self._client.log_batch(
            self._run_id,
            params=[Param(key, str(value)) for key, value in params.items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
        if resume_file:
            Path(resume_file).parent.mkdir(parents=True, exist_ok=True)
            Path(resume_file).write_text(self._run_id)

    def nest(self, name: str, params: dict, resume_file: str) -> None:
        self._outer.append((self._run_id, self._logged))
        self._logged = set()
        tags = {"mlflow.parentRunId": self._run_id}
        self.start(str(self._experiment), name, params, tags, resume_file)

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
        ids = {"experiment_id": self._experiment_id, "run_id": self._run_id}
        print(json.dumps({"experiment": self._experiment, **ids}), flush=True)

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
    if sys.argv[1:] == ["serve"]:
        serve()
    else:
        from pipeline.cli import run_main

        run_main(main, __doc__, sys.argv[1:])
