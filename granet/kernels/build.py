"""Compiles the C++ beside it for the processor at hand, once, into the user's cache, and loads it.

It has a plain C interface: g++ takes two seconds without torch's headers, and any torch will do. It is linked against
the OpenMP that torch has loaded, as a second pool of threads would fight with torch's own for the cores.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch

SOURCES = tuple(
    Path(__file__).with_name(name) for name in ("forward.cpp", "gradient.cpp", "norm.cpp", "tiles.h", "vec.h")
)
FLAGS = ("-O3", "-march=native", "-std=c++17", "-fPIC", "-fopenmp")


@cache
def load() -> ctypes.CDLL | str:
    """The compiled kernels; where they cannot be had, why, in one line."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    openmp = _openmp()
    if openmp is None:
        return "torch has no GNU OpenMP here"
    made_of = [*(source.read_text() for source in SOURCES), *FLAGS, str(openmp), _processor()]
    digest = hashlib.blake2b("|".join(made_of).encode(), digest_size=10).hexdigest()
    try:
        library = _cache() / "granet" / f"kernels-{digest}.so"
        if not library.exists():
            if compiler is None:
                return "there is no C++ compiler; install g++, or name one in CXX"
            _compile(compiler, openmp, library)
        kernels = ctypes.CDLL(str(library))
        kernels.granet_plan.restype = ctypes.c_void_p
        return kernels
    except subprocess.CalledProcessError as error:
        return f"{compiler} failed: {' '.join(error.stderr.split())[:200]}"
    except (OSError, RuntimeError) as error:  # RuntimeError: this user has no home
        return f"{error}; name a folder that you can write in XDG_CACHE_HOME"


def why_not() -> str | None:
    """Why there are no sparse kernels on this machine; None where there are."""
    loaded = load()
    return loaded if isinstance(loaded, str) else None


def _compile(compiler: str, openmp: Path, library: Path) -> None:
    library.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # what lies there is code
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:  # several may compile at once
        objects = [Path(folder) / f"{source.name}.o" for source in SOURCES if source.suffix == ".cpp"]
        linked = Path(folder) / "kernels.so"
        for made in objects:
            _call(compiler, *FLAGS, "-c", str(SOURCES[0].with_name(made.stem)), "-o", str(made))
        _call(compiler, "-shared", *map(str, objects), str(openmp), "-o", str(linked))
        linked.replace(library)


def _call(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603  the compiler, on our own files


def _openmp() -> Path | None:
    """The libgomp that comes with torch, or the one that this process has loaded."""
    bundled = sorted(Path(torch.__file__).parent.glob("lib/libgomp*"))
    if bundled:
        return bundled[0]
    with suppress(OSError):
        for line in Path("/proc/self/maps").read_text().splitlines():
            if "libgomp" in line:
                return Path(line.split()[-1])
    return None


def _processor() -> str:
    """What -march=native depends on."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return line
    return platform.machine()


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
