"""The wheel, and environments to install it into: what a stranger gets from `pip install`."""

import os
import re
import subprocess
import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path
from shutil import copy2, copytree

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


def build_wheel(out: Path) -> Path:
    """The wheel of this checkout's files, built from a copy without the network."""
    source = out / "source"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\0"
    ):
        if name and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            copy2(ROOT / name, source / name)
    uv("build", "--wheel", "--offline", "--no-build-isolation", "--python", sys.executable, str(source))
    (wheel,) = (source / "dist").glob("*.whl")
    return wheel


def uv(*arguments: str, **environment: str) -> str:
    """What uv prints, of either kind; a failure is an error with it."""
    command = [sys.executable, "-m", "uv", "--no-progress", *arguments]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def new_environment(folder: Path) -> Path:
    """The interpreter of an environment without packages."""
    uv("venv", "--python", sys.executable, str(folder))
    return folder / "bin/python"


def build_ffcv(python: Path) -> None:
    """FFCV from source, as setup/setup.sh builds it."""
    ours = ROOT / "setup/ffcv"
    environment = {
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        "CC": "gcc",
        "CXX": "g++",
        "CPATH": f"{ours / 'include'}:/usr/include/opencv4",
        "PKG_CONFIG_PATH": str(ours),
    }
    options = ("--no-cache", "--no-deps", "--no-build-isolation", "-r", str(ours / "requirements.txt"))
    uv("pip", "install", "--python", str(python), *options, **environment)


def link_packages(python: Path, *names: str) -> None:
    """Put packages of this environment and all that they need into another one, by links: torch is 4 GB."""
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    found = subprocess.run([str(python), "-c", where], capture_output=True, text=True, check=True)
    site = Path(found.stdout.strip())
    for package in needed(*names):
        for top in {file.parts[0] for file in package.files or () if file.parts[0] != ".."}:
            source, target = Path(str(package.locate_file(top))), site / top
            if top == "__pycache__" or not source.exists() or target.exists():
                continue
            if top.endswith(".dist-info"):  # uv passes links over
                copytree(source, target)
            else:
                target.symlink_to(source)


def needed(*names: str) -> list[Distribution]:
    """The installed packages of these names, and all that they need here, without extras."""
    found: dict[str, Distribution] = {}
    left = [Requirement(name) for name in names]
    while left:
        wanted = left.pop()
        extras = wanted.extras or {""}
        key = f"{plain(wanted.name)}[{','.join(sorted(extras))}]"
        if key not in found:
            found[key] = distribution(wanted.name)
            for text in found[key].requires or ():
                further = Requirement(text)
                marker = further.marker
                if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
                    left.append(further)
    return list(found.values())


def plain(name: str) -> str:
    """A package's name as registries compare it.

    >>> plain("Ruamel.Yaml")
    'ruamel-yaml'
    """
    return re.sub(r"[-_.]+", "-", name).lower()
