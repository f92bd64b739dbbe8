"""What the processor is called."""

import platform
from contextlib import suppress
from pathlib import Path


def model_name() -> str:
    """E.g. AMD EPYC, as Linux has it; elsewhere, and where it knows no name, what Python says, or the architecture."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
