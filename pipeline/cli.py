"""What every ``python -m pipeline.X`` does around its work: help, one line for bad input, a clean Ctrl-C."""

import sys
from collections.abc import Callable

from granet.types import UserError


def run_main(main: Callable[[list[str]], object], help_text: str | None, arguments: list[str]) -> None:
    """Call ``main(arguments)``; exit 2 with one line on UserError, 130 on Ctrl-C."""
    if {"-h", "--help", "help"} & set(arguments):
        print((help_text or "").strip())
        return
    try:
        main(arguments)
    except UserError as error:
        sys.exit(_fail(f"error: {error}", 2))
    except OSError as error:  # a folder that cannot be written, a full disk
        sys.exit(_fail(f"error: {error}", 2))
    except KeyboardInterrupt:
        sys.exit(_fail("interrupted; run the same command again to go on", 130))


def _fail(line: str, code: int) -> int:
    print(line, file=sys.stderr)
    return code
