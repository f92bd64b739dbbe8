"""What every ``python -m pipeline.X`` does around its work: arguments, help, one line for bad input, a clean Ctrl-C."""

import re
import sys
import traceback
from collections.abc import Callable, Collection, Sequence

from granet.common.files import DENIED, FULL, HANDLES, HARDWARE
from granet.types import DivergedError, UserError


class FailedError(UserError):
    """Something that the user did not cause, in words: no fault of the program, and no mistake of the command line."""


def parse(
    arguments: Sequence[str], keys: Collection[str], command: str, *, overrides: bool = False
) -> tuple[dict[str, str], list[str]]:
    """Arguments key=value as a dict, and the ``overrides`` section.key=value or section={...} as they are written.

    Raises UserError for a key that the ``command`` does not have, one that comes twice or without a value, and for
    overrides where it takes none.
    """
    values: dict[str, str] = {}
    others: list[str] = []
    for text in arguments:
        key, equals, value = text.partition("=")
        if overrides and ("." in key or value.startswith("{")):
            others.append(text)
        elif not equals or key not in keys:
            takes = ", ".join(keys) + (" and section.key=value" if overrides else "")
            raise UserError(f"{text!r} is no argument of {command}; write key=value: it takes {takes}")
        elif not value:
            raise UserError(f"{key}= is empty; write a value behind it, or leave it out")
        elif key in values:
            raise UserError(f"{key}={value} comes twice; leave one out")
        else:
            values[key] = value
    return values, others


def run_main(main: Callable[[list[str]], object], help_text: str | None, arguments: list[str]) -> None:
    """Call ``main(arguments)``; what goes wrong is one line, and a traceback with ``--debug``.

    Exits with 2 where the user can mend it (UserError), with 130 on Ctrl-C, else with 1: a run that diverged, a machine
    that fails (a full disk, say), a fault of this program.
    """
    if {"-h", "--help", "help"} & set(arguments):
        print((help_text or "").strip())
        print(
            "\nWhat goes wrong is one line: exit code 2 for what you can mend, else 1. --debug shows the traceback."
        )
        return
    debug = "--debug" in arguments
    try:
        main([argument for argument in arguments if argument != "--debug"])
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if debug:
            raise
        print(f"error: {in_words(error)}", file=sys.stderr)
        is_users = isinstance(error, UserError) and not isinstance(error, (DivergedError, FailedError))
        sys.exit(2 if is_users or is_missing(error) else 1)


def in_words(error: Exception) -> str:
    """What went wrong, on one line, with the way out."""
    reason = " ".join(str(error).splitlines())
    reason = "".join(
        sign if sign.isprintable() else ascii(sign)[1:-1] for sign in reason
    )  # no terminal obeys it
    if isinstance(error, UserError):
        return reason
    if isinstance(error, ModuleNotFoundError) and is_missing(error):
        return f"{reason}; run: make setup, or, in an environment of yours: pip install '.[pipeline,ffcv,export]'"
    if (number := _errno(error)) in FULL:
        return f"{reason}; make room, then run the same command again: it goes on"
    if number in DENIED:
        return f"{reason}; make it writable and readable for you, then run the same command again"
    if number in HANDLES:
        return f"{reason}; ulimit -n 4096 allows more, then run the same command again: it goes on"
    if number in HARDWARE:
        return f"{reason}; see to the disk, then run the same command again: it goes on"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"{type(error).__name__}: {reason} (line {frame.lineno} of {frame.filename}); this is a fault of the program: "
        "the same command with --debug shows how it came about"
    )


def is_missing(error: Exception) -> bool:
    """Whether a package is not installed that is not ours."""
    ours = ("granet", "pipeline", "None")
    return isinstance(error, ModuleNotFoundError) and str(error.name).split(".")[0] not in ours


def _errno(error: Exception) -> int | None:
    """What the operating system calls it; a library that is not written in Python has it in its text alone."""
    if isinstance(error, OSError):
        return error.errno
    code = re.search(r"\(os error (\d+)\)", str(error))
    return int(code[1]) if code else None
