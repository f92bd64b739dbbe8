"""The kernels built for processors with narrower registers than this one may have: SSE, AVX2."""

import platform
import subprocess
import sys

import pytest

from tests.helpers.package import ROOT

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="builds for x86-64"),
]
BUILT_FOR = """
import sys, pytest
from granet.kernels import build
build.FLAGS = tuple("-march={}" if flag.startswith("-march") else flag for flag in build.FLAGS)
sys.exit(pytest.main(["-q", "-x", "-p", "no:cacheprovider", "tests/granet/kernels/test_kernels.py"]))
"""


@pytest.mark.parametrize("processor", ["x86-64-v2", "x86-64-v3"])
def test_other_processors_compute_the_same(processor):
    command = [sys.executable, "-c", BUILT_FOR.format(processor)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
