"""Waiting for what other processes do."""

import time
from collections.abc import Callable
from typing import TypeVar

from pipeline.launch.job import Job

T = TypeVar("T")


def until(true: Callable[[], T], seconds: float = 60) -> T:
    """Wait for something to come true; returns it."""
    end = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < end, "it has not come true"
        time.sleep(0.05)
    return value


def exit_code(job: Job) -> int | None:
    """Wait for a job's end; returns its exit code."""
    until(lambda: job.poll() is not None)
    return job.poll()
