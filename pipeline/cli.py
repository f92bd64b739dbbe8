"""What every ``python -m pipeline.X`` does around its work: arguments, help, one line for bad input, a clean Ctrl-C."""

import sys
from collections.abc import Callable, Collection, Sequence

from granet.types import UserError


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
    """Call ``main(arguments)``; exit 2 with one line on UserError, 130 on Ctrl-C."""
    if {"-h", "--help", "help"} & set(arguments):
        print((help_text or "").strip())
        return
    try:
        main(arguments)
    except (UserError, OSError) as error:  # the latter: a folder that cannot be written, a full disk
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        sys.exit(130)
