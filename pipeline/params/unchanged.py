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


def check_unchanged(params: Params, *sections: str) -> None:
    """Raise UserError where a stage of DVC would be recorded with other values than it had. To be called at its end."""
    if "DVC_STAGE" not in os.environ:
        return
    now = load()
    for name in sections:
        before, after = _values(params, name), _values(now, name)
        if odd := [key for key in {**before, **after} if before.get(key) != after.get(key)]:
            raise UserError(
                f"{name}.{odd[0]}={after.get(odd[0])!r} is new in params.yaml, and DVC would record it with results of "
                f"{before.get(odd[0])!r}; write the old value back and the stage ends at once, or start it anew"
            )


def _values(params: Params, name: str) -> dict[str, Any]:
    return deciding(getattr(params, name)) if name in SECTIONS else params.methods.get(name, {})
