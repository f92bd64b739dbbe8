"""index.json, which describes the files of a prepared data set. It is written last: where it is, they are whole."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from granet.common.files import atomic
from granet.data.beton import REMEDY
from granet.types import UserError

FORMAT_VERSION = 1
FILE = "index.json"

Size = Annotated[int, Field(gt=0)]
Channels = tuple[float, float, float]


@dataclass(frozen=True)
class Index:
    """What a reader needs of index.json. ``image_size``: (H, W) of what the network sees; ``centre``: of crops."""

    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    num_images: dict[Literal["train", "val", "test"], Size]
    image_size: tuple[Size, Size]
    mean: Channels
    std: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=3, max_length=3)]
    padding: Annotated[int, Field(ge=0)]
    mode: Literal["reflect", "zero"]
    flip: bool
    centre: Annotated[float, Field(gt=0, le=1)] | None = None


_INDEX = TypeAdapter(Index)


def write_index(folder: Path, index: dict[str, Any]) -> dict[str, Any]:
    """Write ``index`` with the version of its format before it, and return what was written."""
    index = {"format_version": FORMAT_VERSION, **index}
    atomic(folder / FILE, (json.dumps(index, indent=2) + "\n").encode())
    return index


def read_index(folder: Path) -> tuple[Index, str]:
    """The index of a prepared data set, and its md5. Raises UserError for a missing, damaged or foreign one."""
    path = folder / FILE
    if not path.is_file():
        raise UserError(f"{path} is missing; {REMEDY}")
    content = path.read_bytes()
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        raise UserError(f"{path} is not valid JSON; {REMEDY}") from None
    version = values.get("format_version") if isinstance(values, dict) else None
    if version != FORMAT_VERSION:
        raise UserError(f"{path} has format_version {version!r}, not {FORMAT_VERSION}; {REMEDY}")
    try:
        index = _INDEX.validate_json(content, strict=True)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise UserError(f"{path} is damaged: {where}: {fault['msg']}; {REMEDY}") from None
    if lacking := {"train", "test"} - index.num_images.keys():
        raise UserError(f"{path} is damaged: num_images has no {min(lacking)}; {REMEDY}")
    return index, hashlib.md5(content, usedforsecurity=False).hexdigest()
