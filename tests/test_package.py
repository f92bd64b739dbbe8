"""The wheel in an environment of its own: three dependencies, README's loop, its own kernels, one command."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import granet
from pipeline.__main__ import COMMANDS
from tests.helpers.package import ROOT, build_ffcv, build_wheel, link_packages, new_environment, plain, uv
from tests.test_readme import blocks

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
CORE = ("torch", "numpy", "safetensors")
BESIDE = """
from pathlib import Path
from granet.deploy.compiled import compile_sparse
from granet.deploy.packed import load_packed, save_packed
from granet.kernels import accelerate, why_not
from granet.models import build

state = sparsifier.state_dict()
Sparsifier(model, optimizer, method, seed=0, total_steps=len(batches)).load_state_dict(state)
network = build("resnet20", num_classes=10).eval()
masks = {name: torch.rand_like(p) < 0.1 for name, p in network.named_parameters() if p.dim() == 4}
with torch.no_grad():
    for name, mask in masks.items():
        network.get_parameter(name).mul_(mask)
images = torch.randn(8, 3, 32, 32)
expected = network(images)
torch.testing.assert_close(compile_sparse(network, masks)(images), expected, atol=1e-4, rtol=1e-4)
save_packed(Path("packed.safetensors"), network.state_dict(), masks)
assert all(torch.equal(mask, masks[name]) for name, mask in load_packed(Path("packed.safetensors"))[1].items())
print("kernels:", why_not() or "ready")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module", params=["linked", pytest.param("new", marks=pytest.mark.soak)])
def python(request, wheel, tmp_path_factory) -> Path:
    """An interpreter that has the wheel: beside links to this environment's torch, or all of it newly installed."""
    python = new_environment(tmp_path_factory.mktemp("environment") / "venv")
    if request.param == "linked":
        link_packages(python, *CORE)
        uv("pip", "install", "--offline", "--no-index", "--python", str(python), str(wheel))
    else:
        uv("pip", "install", "--python", str(python), str(wheel))
    return python


def call(python: Path, *arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    plain_environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [*map(str, (python, *arguments))],
        cwd=cwd, env={**plain_environment, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_it_needs_three_packages_and_brings_its_licence_and_sources(python, tmp_path):
    shown = uv("pip", "show", "--files", "--python", str(python), "granet")
    print(shown.partition("Files:")[0])
    assert "Requires: numpy, safetensors, torch\n" in shown
    assert f"Version: {granet.__version__}\n" in shown
    for file in ("py.typed", "kernels/forward.cpp", "kernels/tiles.h"):
        assert f"granet/{file}\n" in shown
    assert "licenses/LICENSE\n" in shown
    listed = uv("pip", "list", "--python", str(python), "--format", "freeze")
    assert not re.search(
        r"^(rich|mlflow|dvc|torchvision|scikit-learn|pydantic|pillow)==", listed, re.MULTILINE
    )


def test_the_readmes_loop_saving_and_the_kernels_run(python, tmp_path):
    code = "\n".join([*blocks("python"), BESIDE])
    done = call(python, "-W", "error", "-c", code, cwd=tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert done.stderr == ""
    print(done.stdout)
    assert done.stdout.startswith("90.0% {'1.weight': ") and done.stdout.endswith("kernels: ready\n")
    assert list((tmp_path / "cache/granet").glob("kernels-*.so"))


def test_the_command_names_its_parts_and_what_is_missing(python, tmp_path):
    shown = call(python.with_name("granet"), "--help", cwd=tmp_path)
    assert shown.returncode == 0
    assert all(f"    {name} " in shown.stdout for name in COMMANDS)
    done = call(python.with_name("granet"), "train", "dense", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "pip install '.[pipeline" in done.stderr


def test_exact_versions_are_in_constraints_alone_and_in_the_ranges():
    extras = [text for lines in PROJECT["optional-dependencies"].values() for text in lines]
    for wanted in map(Requirement, [*PROJECT["dependencies"], *extras]):
        assert "==" not in str(wanted.specifier), wanted
        if wanted.name != "ffcv":  # has a pin of its own, since it is built apart
            assert wanted.specifier.contains(PINS[plain(wanted.name)]), wanted


def test_the_environment_of_the_tests_is_the_upper_end_of_torchs_range():
    (torch,) = [Requirement(text) for text in PROJECT["dependencies"] if text.startswith("torch")]
    pinned = Version(PINS["torch"])
    assert torch.specifier.contains(pinned)
    assert not torch.specifier.contains(f"{pinned.major}.{pinned.minor + 1}.0")
    assert Version(__import__("torch").__version__).release == pinned.release
    said = re.findall(r"torch \((2\.\d+) to (2\.\d+)\)", (ROOT / "README.md").read_text())
    (lower,) = [clause.version for clause in torch.specifier if clause.operator == ">="]
    assert said == [(lower, f"{pinned.major}.{pinned.minor}")]


@pytest.mark.soak
def test_granets_tests_pass_at_the_lower_end_of_its_ranges(wheel, tmp_path):
    """All three dependencies as old as pyproject.toml allows; what only tests and data need, as pinned."""
    python = new_environment(tmp_path / "venv")
    oldest = [
        f"{wanted.name}=={clause.version}"
        for wanted in map(Requirement, PROJECT["dependencies"])
        for clause in wanted.specifier
        if clause.operator == ">="
    ]
    print(*oldest)
    assert len(oldest) == 3
    uv("pip", "install", "--python", str(python), *oldest, str(wheel))
    beside = ["pydantic", "rich", "pillow", "scikit-learn", "scipy", "pyarrow", "timm"]
    beside += ["onnx", "onnxscript", "onnxruntime"]
    pinned = [f"{name}=={PINS[name]}" for name in (*beside, "pytest", "pytest-xdist", "hypothesis")]
    beside_ffcv = (f"numba=={PINS['numba']}", "opencv-python-headless", "tqdm", "setuptools")  # of numpy 2.0
    uv("pip", "install", "--python", str(python), *oldest, "torchvision", *beside_ffcv, *pinned)
    build_ffcv(python)
    tests = ("-m", "pytest", "tests/granet", "-q", "-p", "no:cacheprovider", "-n", "2", "--dist", "loadfile")
    tests += (
        "--ignore=tests/granet/integrations",
    )  # Lightning and Trainer say themselves which torch they need
    done = call(python, *tests, cwd=ROOT, OMP_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1")
    print(done.stdout[-3000:], done.stderr)
    assert done.returncode == 0
