"""MLflow, in one place. Training never waits for it and never fails because of it: history.csv is the record.

A run is logged by a process of its own, which `Tracker` starts and tells what to log, one JSON line a call. So MLflow's
slow import costs the training nothing, and a server that hangs or dies costs it a warning.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self


class Tracker:
    """One MLflow run. Made early, so that MLflow is imported while the caller still gets ready; then `start`ed.

    Of the processes of one run, only one tracks it: ``active``.
    """

    def __init__(self, *, active: bool = True) -> None:
        self._started = False
        self._process: subprocess.Popen[str] | None = None
        if active:
            command = [sys.executable, "-m", "pipeline.tracking.server", "serve"]
            source = {"PYTHONPATH": str(Path(__file__).parents[2])}
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | source
            )

    def _send(self, call: str, **arguments: Any) -> None:
        if self._process is not None:
            with suppress(BrokenPipeError):  # the process has gone, and has said why
                line = json.dumps({"call": call, **arguments}, default=str)
                print(line, file=self._process.stdin, flush=True)

    def start(
        self, experiment: str, name: str, *, params: dict, tags: dict, resume_file: Path | None = None
    ) -> None:
        """Open the run. ``resume_file`` keeps its id, so that an interrupted run goes on in the same MLflow run."""
        self._started = True
        run = {"params": params, "tags": tags, "resume_file": resume_file}
        self._send("start", experiment=experiment, name=name, **run)

    @contextmanager
    def nested(self, name: str, params: dict[str, Any], resume_file: Path) -> Iterator[None]:
        """Until the block ends, everything goes to a run of its own, nested in this one."""
        self._send("nest", name=name, params=params, resume_file=resume_file)
        with ExitStack() as stack:
            stack.push(lambda kind, *_: self._send("unnest", status=_status(kind)))
            yield

    def metrics(self, values: Mapping[str, float | None], step: int) -> None:
        """Log numbers at a step; an epoch already logged before a resumption is skipped."""
        self._send("metrics", values=values, step=step)

    def artifacts(self, *paths: Path) -> None:
        """Attach files to the run."""
        self._send("artifacts", paths=[path.absolute() for path in paths])

    def wait(self) -> dict[str, str | None]:
        """Experiment and ids of the run, once all so far is logged; the ids are None where tracking failed."""
        self._send("where")
        line = self._process.stdout.readline() if self._process and self._process.stdout else ""
        return json.loads(line) if line else {"experiment": None, "experiment_id": None, "run_id": None}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._process is not None:
            if not self._started:
                self._process.kill()
            self._send("finish", status=_status(kind))
            self._process.communicate()


def _status(kind: type[BaseException] | None) -> str:
    """How a run ends with an exception of that kind, or none. A later run goes on in one that was KILLED."""
    return "FINISHED" if kind is None else "KILLED" if kind is KeyboardInterrupt else "FAILED"


def flatten(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as dotted keys.

    >>> flatten({"train": {"lr": 0.1}, "seed": 0})
    {'train.lr': 0.1, 'seed': 0}
    """
    flat: dict[str, Any] = {}
    for key, value in section.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
