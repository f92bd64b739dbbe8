"""Whether params.yaml still holds what a stage of DVC has read: DVC records what it holds when the stage ends."""

import os
from typing import Any

from granet.common.keys import keys_of
from granet.types import UserError
from pipeline.params.files import load
from pipeline.params.schema import SECTIONS, Params


def deciding(section: Any) -> dict[str, Any]:
    """The keys of a section that decide results, with their values."""
    return {name: getattr(section, name) for name, key in keys_of(section).items() if key.decides_result}


def check_unchanged(params: Params, *keys: str) -> None:
    """Raise UserError where a stage of DVC would be recorded with other values than it had. To be called at its end.

    ``keys``: what dvc.yaml declares for it, sections or keys of sections.
    """
    if "DVC_STAGE" not in os.environ:
        return
    now = load()
    for key in keys:
        section, _, name = key.partition(".")
        before, after = (_values(each, section) for each in (params, now))
        names = [name] if name else {**before, **after}
        if odd := [one for one in names if before.get(one) != after.get(one)]:
            raise UserError(
                f"{section}.{odd[0]}={after.get(odd[0])!r} is new in params.yaml, and DVC would record it with the "
                f"results of {before.get(odd[0])!r}; write the old value back or keep the new one, and start the stage "
                "again"
            )


def _values(params: Params, section: str) -> dict[str, Any]:
    return deciding(getattr(params, section)) if section in SECTIONS else params.methods.get(section, {})
