"""Files that are whole or not there."""

import os
from pathlib import Path


def atomic(path: Path, content: bytes) -> None:
    """Write a file or leave the old one untouched."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
