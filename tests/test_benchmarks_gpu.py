"""benchmarks.gpu on the CPU, very small: every row is there, nothing is measured twice, and time is kept."""

import json
import time

import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu import Settings, measure
from granet.types import UserError

TINY = Settings(
    torch.device("cpu"),
    networks=(("resnet20", 32),),
    batch=4,
    seconds=0.01,
    runs=(),
    matrix=64,
    num_workers=0,
)


def test_rows_are_measured_once_and_written_at_once(tmp_path, monkeypatch):
    peak_and_training = [*gpu.rows(TINY)][:2]
    monkeypatch.setattr(gpu, "rows", lambda settings: peak_and_training)
    report, num_left = measure(TINY, tmp_path / "gpu.json", minutes=2)
    assert num_left == 0 and report == json.loads((tmp_path / "gpu.json").read_text())
    assert report["about"]["device"].startswith("cpu")
    row = report["rows"]["resnet20 32"]
    assert all(row[f"{name}_images_per_s"] > 0 for name in ("dense", "granet", "usual"))
    assert row["first_step_s"] > 0 and row["step_flops_per_image"] > 1e8
    (last,) = [line for line in gpu.lines(report) if line.startswith("resnet20 32: ")]
    assert "share of the peak" in last and "granet / usual" in last
    monkeypatch.setattr(gpu, "_result", lambda row, device: pytest.fail("it is there already"))
    assert measure(TINY, tmp_path / "gpu.json", minutes=2) == (report, 0)


def test_time_is_kept_and_what_is_left_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(
        gpu, "rows", lambda settings: [("a", dict), ("b", lambda: time.sleep(60)), ("c", dict)]
    )
    started = time.monotonic()
    report, num_left = measure(TINY, tmp_path / "gpu.json", minutes=0.5 / 60)
    assert time.monotonic() - started < 10
    assert (report["rows"], num_left) == ({"a": {}}, 2)


def test_memory_that_is_too_small_is_a_row_that_is_tried_again(tmp_path, monkeypatch):
    def fail():
        raise torch.OutOfMemoryError("out of memory\nby far")

    monkeypatch.setattr(gpu, "rows", lambda settings: [("a", fail)])
    assert measure(TINY, tmp_path / "gpu.json", minutes=1)[0]["rows"] == {"a": {"error": "out of memory"}}
    monkeypatch.setattr(gpu, "rows", lambda settings: [("a", lambda: {"rate": 1.0})])
    assert measure(TINY, tmp_path / "gpu.json", minutes=1)[0]["rows"] == {"a": {"rate": 1.0}}


def test_numbers_of_another_machine_are_not_mixed_in(tmp_path):
    (tmp_path / "gpu.json").write_text(json.dumps({"about": {"device": "another"}, "rows": {}}))
    with pytest.raises(UserError, match="move it away"):
        measure(TINY, tmp_path / "gpu.json", minutes=1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_there_is_one_line_and_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="there is no GPU"):
        gpu.main([])
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("arguments", "message"), [(["--minutes", "0"], "above 0"), (["--fast"], "unrecognized")]
)
def test_a_bad_command_line_is_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        gpu.main(arguments)


@pytest.mark.soak
def test_several_at_once_and_compiled(tmp_path):
    settings = Settings(
        TINY.device, networks=TINY.networks, batch=4, seconds=0.2, runs=(1, 2), matrix=64, num_workers=1
    )
    report, num_left = measure(settings, tmp_path / "gpu.json", minutes=8)
    assert num_left == 0 and "error" not in str(report)
    assert [row["runs"] for row in report["rows"].values() if "runs" in row] == [1, 2]
    assert report["rows"]["resnet20 32 compile"]["compiled_images_per_s"] > 0
