"""Points in time. One unit inside the library, the optimizer step; "110ep" and "2000it" where people write."""

import re

from granet.types import UserError

_TIME = re.compile(r"(\d+(?:\.\d+)?)(ep|it)")


def parse_time(text: str, steps_per_epoch: int, *, key: str) -> int:
    """Optimizer steps meant by "110ep" (epochs, may be fractional) or "2000it" (steps).

    Raises UserError, naming ``key``, for anything else.

    >>> parse_time("2ep", 352, key="tf"), parse_time("2000it", 352, key="tf")
    (704, 2000)
    """
    match = _TIME.fullmatch(text.strip())
    if match is None or (match[2] == "it" and "." in match[1]):
        raise UserError(f'{key}={text!r} is no point in time: write epochs as "110ep" or steps as "2000it"')
    return round(float(match[1]) * steps_per_epoch) if match[2] == "ep" else int(match[1])


def last_multiple(step: int, interval: int) -> int:
    """The last mask update that is not after ``step``: the largest multiple of ``interval`` up to it.

    >>> last_multiple(165, 10)
    160
    """
    return step // interval * interval
