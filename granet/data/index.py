"""index.json, which describes the files of a prepared data set. It is written last: where it is, they are whole."""

import hashlib
import json
from pathlib import Path
from typing import Any

from granet.common.files import atomic
from granet.data.beton import REMEDY
from granet.types import UserError

FORMAT_VERSION = 1
FILE = "index.json"


def write_index(folder: Path, index: dict[str, Any]) -> dict[str, Any]:
    """Write ``index`` with the version of its format before it, and return what was written."""
    index = {"format_version": FORMAT_VERSION, **index}
    atomic(folder / FILE, (json.dumps(index, indent=2) + "\n").encode())
    return index


def read_index(folder: Path) -> tuple[dict[str, Any], str]:
    """The index of a prepared data set, and its md5. Raises UserError for a missing, damaged or foreign one."""
    path = folder / FILE
    try:
        text = path.read_text()
        index = json.loads(text)
    except FileNotFoundError:
        raise UserError(f"{path} is missing; {REMEDY}") from None
    except ValueError:
        raise UserError(f"{path} is not valid JSON; {REMEDY}") from None
    if (version := index.get("format_version")) != FORMAT_VERSION:
        raise UserError(f"{path} has format_version {version}, not {FORMAT_VERSION}; {REMEDY}")
    return index, hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
