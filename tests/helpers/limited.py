"""A process that runs commands to which the machine refuses something: python -m tests.helpers.limited

A line of standard input is a case, {"folder", "command", "limit"} in JSON, and answered by a line {"code", "error"}.
``limit`` is one of LIMITS with a number, as "bytes 1000", or empty. Each command runs in a fork of its own, where all
that it imports is there already.
"""

import contextlib
import importlib
import json
import os
import resource
import signal
import sys
from collections.abc import Callable

from pipeline.cli import run_main

MODULES = {
    "params": "pipeline.params.__main__",
    "prepare": "pipeline.prepare",
    "train": "pipeline.train",
    "report": "pipeline.report.page",
}
LAZY = (
    *(
        "granet.data.jpeg",
        "granet.data.writing",
        "sklearn.datasets",
        "PIL.JpegImagePlugin",
        "PIL.PngImagePlugin",
    ),
    *("pandas", "scipy.stats", "matplotlib.figure", "matplotlib.backends.backend_agg", "torch._dynamo"),
)
PATIENCE_S = 100
NOBODY = 65534


def bytes_per_file(number: int) -> None:
    """Files end at ``number`` bytes, as on a disk that is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (number, number))


def handles(number: int) -> None:
    """Only ``number`` more files can be open."""
    lowest_free = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + number, lowest_free + number))


def permissions(_: int) -> None:
    """Only what everybody may do is allowed."""
    if os.geteuid() == 0:
        os.setegid(NOBODY)
        os.seteuid(NOBODY)


LIMITS: dict[str, Callable[[int], None]] = {
    "bytes": bytes_per_file,
    "handles": handles,
    "nobody": permissions,
}


def run(folder: str, command: str, limit: str) -> None:
    """What the forked process does; it ends with the command's exit code."""
    os.chdir(folder)
    name, *arguments = command.split()
    module = importlib.import_module(MODULES[name])
    kind, _, number = limit.partition(" ")
    if kind:
        LIMITS[kind](int(number or 0))
    run_main(module.main, module.__doc__, arguments)


def ending(case: dict[str, str]) -> dict[str, object]:
    """Exit code and standard error of a case. A process that hangs is ended by a signal: a negative code."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        signal.alarm(PATIENCE_S)
        nothing = os.open(os.devnull, os.O_RDWR)
        for old, new in ((nothing, 0), (nothing, 1), (writer, 2)):
            os.dup2(old, new)
        for handle in (reader, writer, nothing):
            os.close(handle)
        code = 0
        try:
            run(**case)
        except SystemExit as ended:
            code = int(ended.code or 0)
        finally:
            with contextlib.suppress(OSError):
                sys.stderr.flush()
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as file:
        error = file.read()
    return {"code": os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), "error": error}


if __name__ == "__main__":
    for one in (*MODULES.values(), *LAZY):
        importlib.import_module(one)
    for line in sys.stdin:
        print(json.dumps(ending(json.loads(line))), flush=True)
