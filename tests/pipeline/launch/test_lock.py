"""pipeline.launch.lock: the bytes of dvc.lock are those that DVC writes."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.launch.lock import Stages, write_stages_alone

HASH = {"hash": "md5", "md5": "12345678901234567890123456789012", "size": 7}


def stage(index: int) -> dict:
    """As DVC locks one: a long command is wrapped, and what YAML would take for a number is quoted where it is text."""
    command = f"python -m pipeline.train sparse dataset=digits model=resnet20 method=granet sparsity=0.9 seed={index}"
    values = {
        "grid.seeds": [0, index],
        "granet": {"si": 0.5, "text": "0.9", "no": None, "yes": True, "list": []},
    }
    path = f"runs/sparse/digits-resnet20-granet-0.9-{index}/model.safetensors"
    return {
        "cmd": command,
        "deps": [{"path": "code/granet", **HASH}],
        "params": {"params.yaml": values},
        "outs": [{"path": path, **HASH}],
    }


def write(path: Path, *changes: dict) -> bytes:
    """What DVC makes of dvc.lock with these changes, in this process as it is."""
    from dvc import dvcfile

    for change in changes:
        with dvcfile.modify_yaml(str(path)) as data:
            if not data:
                data.update({"schema": "2.0"})
            data["stages"] = data.get("stages", {})
            for name in change:
                data["stages"].get(name, {})
            data["stages"].update(change)
    return path.read_bytes()


CHANGES = (
    {"code": {"cmd": "python -m pipeline.code", "outs": [{"path": "code", **HASH}]}},
    *({f"sparse@digits-resnet20-granet-0.9-{index}": stage(index)} for index in (0, 1, 10)),
    {"sparse@digits-resnet20-granet-0.9-1": stage(7)},  # one that is there, and whose name begins another's
    {"dense@a-0": stage(3), "dense@a-1": stage(4)},
    {f"dense@{'long' * 32}-0": stage(5)},  # YAML begins such a key with a question mark
    {"dense@a-1": stage(6)},
    {f"dense@{'long' * 32}-0": stage(7)},
)


@pytest.fixture
def alone(monkeypatch):
    """DVC as a launch has it, in this test alone."""
    from dvc import dvcfile

    plain = dvcfile.modify_yaml
    monkeypatch.setattr(dvcfile, "modify_yaml", plain)
    write_stages_alone.cache_clear()
    write_stages_alone()
    yield
    write_stages_alone.cache_clear()


def test_dvc_writes_the_same_bytes(tmp_path, request):
    expected = [write(tmp_path / "dvc.lock", change) for change in CHANGES]
    (tmp_path / "dvc.lock").unlink()
    request.getfixturevalue("alone")
    assert [write(tmp_path / "dvc.lock", change) for change in CHANGES] == expected


def test_one_stage_is_read_without_the_others(tmp_path):
    text = write(tmp_path / "dvc.lock", *CHANGES).decode()
    name = "sparse@digits-resnet20-granet-0.9-1"
    assert Stages(text).get(name) == stage(7)
    assert Stages(text.replace("  code:", "  code: {broken")).get(name) == stage(7)
    assert Stages(text).get("sparse@digits-resnet20-granet-0.9-2", "none") == "none"


@pytest.mark.parametrize("extra", ["datasets: []\n", "# by hand\n"])
def test_what_has_more_than_stages_is_left_to_dvc(tmp_path, request, extra):
    path = tmp_path / "dvc.lock"
    write(path, *CHANGES[:2])
    path.write_text(path.read_text() + extra)
    before = path.read_bytes()
    expected = write(path, CHANGES[2])
    path.write_bytes(before)
    request.getfixturevalue("alone")
    assert write(path, CHANGES[2]) == expected
    assert extra.encode() in expected


def test_yaml_is_parsed_by_the_c_library():
    """Four times as fast, for every `dvc status`."""
    code = "from ruamel.yaml import YAML; print(YAML(typ='safe').Parser.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "CParser\n"
