"""MLflow, in one place. Training never waits for it and never fails because of it: history.csv is the record.

A run writes what is to be logged into its journal, and a process of its own sends it. So MLflow's slow import costs the
training nothing, and a server that hangs or dies costs it a warning: what it does not take is sent later.
"""

import re
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from granet.common.files import link_or_copy
from pipeline.tracking.channel import open_channel
from pipeline.tracking.journal import HANGS, LATER, Journal
from pipeline.tracking.system import watching
from pipeline.workspace import address

PATIENCE_S = 60.0
"""How long the end of a run waits for a server that takes what it is sent."""
LAST_TRY_S = 5.0
"""The same for one that has failed before."""
POLL_S = 0.02


class Tracker:
    """One MLflow run. Made early, so that MLflow is imported while the caller still gets ready; then `opened`.

    Of the processes of one run, only one tracks it: ``active``. ``offline``: the journal is written, and not sent.
    """

    def __init__(self, *, active: bool = True, offline: bool = False) -> None:
        self._active = active
        self._journal: Journal | None = None
        self._experiment, self._run = "", ""
        self._logged: set[tuple] = set()
        self._num_samples, self._has_model = 0, False
        self._opened: dict[str, int] = {}
        self._channel = open_channel() if active and not offline else None

    @contextmanager
    def opened(
        self,
        folder: Path,
        experiment: str,
        name: str,
        *,
        params: dict,
        tags: dict,
        table: str | None = None,
    ) -> Iterator[None]:
        """Until the block ends, log to a run, whose journal is ``folder``: that of an interrupted run goes on there.

        ``table``: the name of the run of MLflow that this one is nested in, made where the experiment has none.
        """
        if self._active:
            self._journal = Journal(folder.absolute())
            self._journal.begin()
            calls = [call for call, _ in self._journal.after(0)]
            self._logged = {_seen(call) for call in calls if call["call"] == "metrics"}
            self._has_model = any(call["call"] == "model" for call in calls)
            self._num_samples = sum(
                any(key.startswith("system/") for key in seen[2:]) for seen in self._logged
            )
            self._poke(str(self._journal.folder))
        self._experiment = experiment
        with ExitStack() as stack:
            stack.callback(self._finish)
            stack.push(self._close)
            self._open(name, params, tags, table=table)
            yield

    def _finish(self) -> None:
        """Let the process send the rest; what it cannot send in time stays in the journal."""
        if self._channel is not None:
            self._channel.hang_up()
            self._wait_for(lambda: False)
            if (
                not self._channel.is_over()
                and self._journal is not None
                and not self._journal.trouble.exists()
            ):
                print(f"warning: MLflow at {address()} is slow; {LATER}", file=sys.stderr)

    @contextmanager
    def nested(self, key: str, name: str, params: dict[str, Any]) -> Iterator[None]:
        """Until the block ends, everything goes to a run of its own, nested in this one, whose ``key`` is its alone."""
        outer, self._run = self._run, key
        with ExitStack() as stack:
            stack.callback(setattr, self, "_run", outer)
            stack.push(self._close)
            self._open(name, params, {}, outer)
            yield

    def _open(
        self, name: str, params: dict, tags: dict, outer: str | None = None, table: str | None = None
    ) -> None:
        about = {"experiment": self._experiment, "name": name, "params": params, "tags": tags, "outer": outer}
        self._write("open", **about, table=table, key=uuid.uuid4().hex)
        if self._journal is not None:
            self._opened[self._run] = self._journal.calls.stat().st_size

    def _close(self, kind: type[BaseException] | None, *_: object) -> None:
        status = "FINISHED" if kind is None else "KILLED" if kind is KeyboardInterrupt else "FAILED"
        self._write("close", status=status)

    def metrics(self, values: Mapping[str, float | None], step: int) -> None:
        """Log numbers at a step, once: those that a resumed run tells again are left out."""
        known = {key: value for key, value in values.items() if value is not None}
        seen = _seen({"run": self._run, "step": step, "values": known})
        if seen not in self._logged:
            self._logged.add(seen)
            self._write("metrics", step=step, values=known)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Until the block ends, log what this process takes of the machine."""
        if self._journal is None:
            yield
            return
        with watching(self._sampled):
            yield

    def _sampled(self, values: dict[str, float]) -> None:
        """Log a sample to the run itself; called by a thread of its own."""
        assert self._journal is not None
        step, self._num_samples = self._num_samples, self._num_samples + 1
        self._journal.append("metrics", "", time=_now(), step=step, values=values)
        self._poke("more")

    def dataset(self, name: str, digest: str, source: str, profile: Mapping[str, Any]) -> None:
        """Say what the run is trained on; ``source``: where it lies, ``profile``: what can be said of it in numbers."""
        self._write("dataset", name=name, digest=digest, source=source, profile=dict(profile))

    def artifacts(self, *paths: Path) -> None:
        """Attach files to the run, as they are now."""
        if self._journal is not None:
            for path in paths:
                link_or_copy(path, self._journal.folder / "artifacts" / self._run / path.name)
            self._write("artifacts", names=[path.name for path in paths])

    def model(
        self,
        name: str,
        files: Sequence[str],
        image: Sequence[int],
        logits: Sequence[int],
        metrics: Mapping[str, float | None],
        step: int,
    ) -> None:
        """Log numbers of the final network, once, and make it a model of its own: of ``files``, artifacts already.

        ``image`` and ``logits`` are the shapes of what goes in and comes out, without the batch.
        """
        if not self._has_model:
            self._has_model = True
            known = {key: value for key, value in metrics.items() if value is not None}
            about = {"files": list(files), "image": list(image), "logits": list(logits)}
            self._write("model", name=name, **about, values=known, step=step)

    def curves(self, history: str, title: str) -> None:
        """Attach pictures of the run to it. ``history``: the name of its history.csv, an artifact already."""
        self._write("curves", history=history, title=title)

    def _write(self, call: str, **arguments: Any) -> None:
        if self._journal is not None:
            self._journal.append(call, self._run, time=_now(), **arguments)
            self._poke("more")

    def _poke(self, line: str) -> None:
        if self._channel is not None:
            self._channel.say(line)

    def wait(self, *, is_last: bool = True) -> dict[str, str | None]:
        """Experiment and ids of the run, once MLflow has made it; the ids are None where it has not.

        Not ``is_last``: more is to come, so that a server in trouble is not waited for.
        """
        ids: dict[str, str] | None = None
        if self._journal is not None and self._channel is not None:
            journal, end = self._journal, self._opened[self._run]
            if self._wait_for(lambda: journal.sent.offset >= end, is_last=is_last):
                ids = journal.sent.runs[self._run]
        return {"experiment": self._experiment or None, "experiment_id": None, "run_id": None} | (ids or {})

    def _wait_for(self, is_so: Callable[[], bool], *, is_last: bool = True) -> bool:
        """Wait until something is so, or cannot be expected to become so; returns whether it is."""
        assert self._journal is not None and self._channel is not None
        began = time.monotonic()
        while not is_so() and not self._channel.is_over():
            with suppress(FileNotFoundError):
                hangs = self._journal.trouble.read_text() == HANGS
                if hangs or not is_last or time.monotonic() - began > LAST_TRY_S:
                    break
            if time.monotonic() - began > PATIENCE_S:
                break
            time.sleep(POLL_S)
        return is_so()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._channel is not None:
            self._channel.kill()


def _now() -> int:
    """Milliseconds, as MLflow counts them."""
    return int(time.time() * 1000)


def _seen(call: Mapping[str, Any]) -> tuple:
    """What tells one call of `Tracker.metrics` from another."""
    return call["run"], call["step"], *sorted(call["values"])


def flatten(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as dotted keys, without signs that MLflow takes in no name: patterns of layers have some.

    >>> flatten({"train": {"lr": 0.1, "layer_sparsity": {"conv*": 0.5}}, "seed": 0})
    {'train.lr': 0.1, 'train.layer_sparsity.conv_2A': 0.5, 'seed': 0}
    """
    flat: dict[str, Any] = {}
    for key, value in section.items():
        name = prefix + re.sub(r"[^\w./ :-]", lambda match: f"_{ord(match[0]):02X}", key)
        flat |= flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat
