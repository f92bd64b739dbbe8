"""granet.data.beton: what FFCV writes, FFCV and numpy read alike; a damaged file is one clear line."""

import errno
import resource
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from granet.data import beton
from granet.data.split import Split
from granet.types import UserError
from tests.helpers.needs import needs_ffcv

pytestmark = needs_ffcv


def random_split(num_images: int, height: int = 32, width: int = 32) -> Split:
    rng = np.random.default_rng(num_images)
    images = rng.integers(0, 256, (num_images, height, width, 3), dtype=np.uint8)
    return Split(images, rng.integers(0, 1000, num_images))


def assert_same(one: Split, other: Split) -> None:
    np.testing.assert_array_equal(one.images_NHWC, other.images_NHWC)
    np.testing.assert_array_equal(one.labels, other.labels)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a file of 700 images: two pages, the second half empty."""
    path = tmp_path_factory.mktemp("beton") / "good.beton"
    beton.write(path, random_split(700))
    return path.read_bytes()


@pytest.mark.parametrize(
    "num_images, height, width",
    [
        (1, 32, 32),
        (700, 32, 32),  # more than a page of 2 MiB
        (5, 20, 48),
        (3, 1024, 1024),  # an image of 3 MiB needs larger pages
    ],
)
def test_read_gives_back_what_was_written(num_images: int, height: int, width: int, tmp_path: Path) -> None:
    split = random_split(num_images, height, width)
    beton.write(tmp_path / "x.beton", split)
    num_bytes = split.images_NHWC.nbytes + split.labels.nbytes
    header = beton.Header(num_images, int(split.labels.max()) + 1, height, width, num_bytes)
    assert beton.check(tmp_path / "x.beton") == header
    assert_same(beton.read(tmp_path / "x.beton"), split)


def test_ffcv_reads_the_same(good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.beton"
    path.write_bytes(good)
    with beton.ffcv_imported():
        from ffcv.loader import Loader
    with beton.torch_threads_kept():
        batches = list(Loader(str(path), batch_size=700, num_workers=1, drop_last=False))
    split = beton.read(path)
    ((images, labels),) = batches
    assert torch.equal(images, torch.from_numpy(split.images_NHWC))
    assert torch.equal(labels[:, 0], torch.from_numpy(split.labels))


def test_the_same_images_give_the_same_bytes(good: bytes, tmp_path: Path) -> None:
    beton.write(tmp_path / "again.beton", random_split(700))
    assert (tmp_path / "again.beton").read_bytes() == good


def test_write_shares_no_memory(good: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/shm may be small: a write beyond its end kills the process."""

    def shared(*_: object, **__: object) -> None:
        pytest.fail("memory is shared")

    monkeypatch.setattr("multiprocessing.shared_memory.SharedMemory", shared)
    monkeypatch.setattr("multiprocessing.synchronize.SemLock.__init__", shared)
    beton.write(tmp_path / "x.beton", random_split(700))
    assert (tmp_path / "x.beton").read_bytes() == good


def test_indices_choose_and_order(tmp_path: Path) -> None:
    split, chosen = random_split(20), np.array([7, 3, 3, 19])
    beton.write(tmp_path / "x.beton", split, chosen)
    assert_same(beton.read(tmp_path / "x.beton"), Split(split.images_NHWC[chosen], split.labels[chosen]))


def test_write_is_silent_and_keeps_torch_threads(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = torch.get_num_threads()
    beton.write(tmp_path / "x.beton", random_split(2))
    assert torch.get_num_threads() == before
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == ["x.beton"]


def test_an_image_too_large_is_refused_before_ffcv_runs(tmp_path: Path) -> None:
    pixels = np.broadcast_to(np.zeros(3, np.uint8), (1, 8, 4097, 3))
    with pytest.raises(UserError, match=r"x\.beton: images of 8 x 4097 pixels are too large; at most 4096"):
        beton.write(tmp_path / "x.beton", Split(pixels, np.zeros(1, np.int64)))


# FFCV leaves its file open on an error.
@pytest.mark.filterwarnings("ignore:.*FileIO.*:pytest.PytestUnraisableExceptionWarning")
def test_a_full_disk_is_told_by_name_and_keeps_the_old_file(good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.beton"
    path.write_bytes(good)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))  # stands in for a disk with 1 MiB left
    try:
        with pytest.raises(OSError, match=r"File too large: .*x\.beton"):
            beton.write(path, random_split(800))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == good and list(tmp_path.iterdir()) == [path]


def test_an_error_of_the_worker_does_not_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(rows: object, index: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(beton._Rows, "__getitem__", fail)
    with pytest.raises(OSError, match="Input/output error"):
        beton.write(tmp_path / "x.beton", random_split(2))
    assert not list(tmp_path.iterdir())


def test_without_ffcv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "ffcv"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "ffcv", None)
    with pytest.raises(UserError) as caught:
        beton.write(tmp_path / "x.beton", random_split(2))
    message = str(caught.value)
    assert "make setup" in message and "g++, pkg-config, libopencv-dev and libturbojpeg0-dev" in message
    assert "\n" not in message


def fault(path: Path, content: bytes | None) -> str:
    if content is not None:
        path.write_bytes(content)
    messages = set()
    for reader in (beton.check, beton.read):
        with pytest.raises(UserError) as caught:
            reader(path)
        messages.add(str(caught.value))
    (message,) = messages
    assert str(path) in message and "dvc repro prepare" in message and "\n" not in message
    return message


def test_missing(tmp_path: Path) -> None:
    assert "is missing" in fault(tmp_path / "x.beton", None)


@pytest.mark.parametrize("cut", [1, 24, 24 * 700, 24 * 700 + 1, 3 << 20])
def test_cut_short(cut: int, good: bytes, tmp_path: Path) -> None:
    assert "cut short" in fault(tmp_path / "x.beton", good[:-cut])


@pytest.mark.parametrize("keep", [0, 1, 23])
def test_no_header(keep: int, good: bytes, tmp_path: Path) -> None:
    assert "cut short" in fault(tmp_path / "x.beton", good[:keep])


def test_header_only(good: bytes, tmp_path: Path) -> None:
    assert "cut short" in fault(tmp_path / "x.beton", good[:24])


def test_grown(good: bytes, tmp_path: Path) -> None:
    assert "cut short or changed" in fault(tmp_path / "x.beton", good + bytes(24))


def test_interrupted(good: bytes, tmp_path: Path) -> None:
    assert "never finished" in fault(tmp_path / "x.beton", bytes(len(good)))
    assert "never finished" in fault(tmp_path / "x.beton", good[:16] + bytes(8) + good[24:])  # no table yet


def test_other_version(good: bytes, tmp_path: Path) -> None:
    assert "version 3, not 2" in fault(tmp_path / "x.beton", b"\3\0" + good[2:])


def test_other_fields(good: bytes, tmp_path: Path) -> None:
    assert "does not hold images with labels" in fault(tmp_path / "x.beton", good[:24] + b"\4" + good[25:])


def test_image_beyond_the_pages(good: bytes, tmp_path: Path) -> None:
    last = 24 + 2 * 1041 + 699 * 24 + 5  # header, two fields, 699 records, mode and width and height
    damaged = good[:last] + (1 << 40).to_bytes(8, "little") + good[last + 8 :]
    assert "beyond its pages" in fault(tmp_path / "x.beton", damaged)


@pytest.mark.parametrize(
    "name, place, damage, message",
    [
        ("start", 5, (2**64 - 8).to_bytes(8, "little"), "beyond its pages"),  # start + size is small again
        ("mode", 0, b"\7", "of no known kind"),
        ("label", 16, (-3).to_bytes(8, "little", signed=True), "of no class"),
    ],
)
def test_an_image_that_would_lead_ffcv_astray(
    name: str, place: int, damage: bytes, message: str, good: bytes, tmp_path: Path
) -> None:
    offset = 24 + 2 * 1041 + 699 * 24 + place
    damaged = bytearray(good[:offset] + damage + good[offset + len(damage) :])
    if name == "start":  # in the table, too
        damaged[-16:-8] = damage
    assert message in fault(tmp_path / "x.beton", bytes(damaged))


def test_a_size_that_is_not_the_pixels(good: bytes, tmp_path: Path) -> None:
    width = 24 + 2 * 1041 + 699 * 24 + 1
    damaged = good[:width] + (16).to_bytes(2, "little") + good[width + 2 :]
    assert "beyond its pages" in fault(tmp_path / "x.beton", damaged)
