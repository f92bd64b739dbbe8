"""What a processor is called, from files as Linux has them on several architectures."""

import platform
from pathlib import Path

import pytest

from granet.common.processor import model_name


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        ("processor\t: 0\nmodel\t\t: 17\nmodel name\t: AMD EPYC: 9B14\n", "AMD EPYC: 9B14"),
        ("processor\t: 0\nBogoMIPS\t: 50.00\nCPU part\t: 0xd0c\n", "aarch64"),
        (None, "aarch64"),
    ],
)
def test_the_name_is_linux_own_or_the_architecture(cpuinfo, name, monkeypatch):
    def read_text(self, **_):
        assert self == Path("/proc/cpuinfo")
        if cpuinfo is None:
            raise FileNotFoundError(self)
        return cpuinfo

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert model_name() == name
