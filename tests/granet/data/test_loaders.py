"""granet.data.loaders: every kind and any number of threads give the same batches; every image comes once."""

import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from granet.common.distributed import World
from granet.data import LOADERS, Loader, build_loader, loaders
from granet.data.beton import write
from granet.data.loaders import Batch, FfcvLoader, ResidentLoader, epoch_order
from granet.data.split import Split
from granet.types import UserError
from tests.helpers.needs import needs_ffcv

pytestmark = needs_ffcv

NUM_IMAGES = 70
BATCH_SIZE = 32


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """70 random images whose label is their number."""
    images = np.random.default_rng(0).integers(0, 256, (NUM_IMAGES, 8, 8, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp("loaders") / "train.beton"
    write(path, Split(images, np.arange(NUM_IMAGES)))
    return path


def build(kind: str, path: Path, **changes: Any) -> Loader:
    return build_loader(
        kind, path, **{"batch_size": BATCH_SIZE, "seed": 3, "shuffle": True, "device": "cpu"} | changes
    )


shared = cache(build)  # FFCV compiles for half a second


def numbers(loader: Loader, epoch: int) -> list[int]:
    return [number for _, labels in loader.epoch(epoch) for number in labels.tolist()]


def assert_same(one: list[Batch], other: list[Batch]) -> None:
    for (images, labels), (same_images, same_labels) in zip(one, other, strict=True):
        assert torch.equal(images, same_images) and torch.equal(labels, same_labels)
        assert images.stride() == same_images.stride()


# 0: one per core; 1000: more than any machine has
@pytest.mark.parametrize("num_workers, shuffle", [(1, True), (2, True), (1000, True), (0, False)])
def test_every_kind_and_any_number_of_threads_gives_the_same(
    path: Path, num_workers: int, shuffle: bool
) -> None:
    resident = shared("resident", path, shuffle=shuffle)
    ffcv = shared("ffcv", path, shuffle=shuffle, num_workers=num_workers)
    for epoch in (0, 1, 7, 1):
        assert_same(list(resident.epoch(epoch)), list(ffcv.epoch(epoch)))


@pytest.mark.parametrize("kind", LOADERS)
def test_a_batch(kind: str, path: Path) -> None:
    loader = shared(kind, path)
    assert (loader.num_images, len(loader)) == (70, 3)
    batches = list(loader.epoch(0))
    assert [tuple(images.shape) for images, _ in batches] == [(32, 3, 8, 8), (32, 3, 8, 8), (6, 3, 8, 8)]
    for images, labels in batches:
        assert images.dtype == torch.uint8 and images.is_contiguous(memory_format=torch.channels_last)
        assert labels.dtype == torch.int64 and labels.ndim == 1


@pytest.mark.parametrize("kind", LOADERS)
def test_every_image_once_per_epoch(kind: str, path: Path) -> None:
    loader = shared(kind, path)
    assert numbers(loader, 0) == epoch_order(3, 0, NUM_IMAGES).tolist()
    assert sorted(numbers(loader, 1)) == list(range(NUM_IMAGES))
    assert numbers(shared(kind, path, shuffle=False), 5) == list(range(NUM_IMAGES))


@pytest.mark.parametrize("kind", ["ffcv", "resident"])
def test_an_epoch_does_not_depend_on_what_ran_before(kind: str, path: Path) -> None:
    loader = shared(kind, path)
    straight = [numbers(loader, epoch) for epoch in range(4)]
    assert numbers(build(kind, path), 3) == straight[3]
    assert numbers(loader, 1) == straight[1]
    assert len({tuple(order) for order in straight}) == 4


@pytest.mark.parametrize("kind", ["ffcv", "resident"])
def test_an_epoch_may_be_left_half_way(kind: str, path: Path) -> None:
    loader = build(kind, path, batch_size=8)
    for _ in loader.epoch(0):
        break
    assert numbers(loader, 1) == epoch_order(3, 1, NUM_IMAGES).tolist()


def test_batches_stay_as_they_are(path: Path) -> None:
    """FFCV fills its buffers again; what it gave us must not change."""
    batches, copies = [], []
    for images, labels in build("ffcv", path, batch_size=4).epoch(0):
        batches.append((images, labels))
        copies.append((images.clone(), labels.clone()))
    assert_same(batches, copies)


def test_orders_of_neighbouring_seeds_are_not_shifted() -> None:
    """With seed + epoch as it comes, seed 0's epoch 1 would be seed 1's epoch 0."""
    orders = {tuple(epoch_order(seed, epoch, NUM_IMAGES)) for seed in range(5) for epoch in range(20)}
    assert len(orders) == 100


def test_ffcv_leaves_torch_its_threads(path: Path) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(before + 1)
        loader = build("ffcv", path, num_workers=1)
        for _ in loader.epoch(0):
            assert torch.get_num_threads() == before + 1
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


# which loader


def test_resident_refuses_what_does_not_fit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaders, "free_bytes", lambda device: 70 * (8 * 8 * 3 + 8) - 1)
    with pytest.raises(
        UserError, match=r"data\.loader=resident needs 0\.0 MiB on cpu .* set data\.loader=ffcv"
    ):
        build("resident", path)


def test_auto(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 70 * (8 * 8 * 3 + 8)
    assert isinstance(build("auto", path), ResidentLoader)
    monkeypatch.setattr(loaders, "free_bytes", lambda device: 4 * size)
    assert isinstance(build("auto", path), ResidentLoader)
    monkeypatch.setattr(loaders, "free_bytes", lambda device: 4 * size - 1)
    assert isinstance(build("auto", path), FfcvLoader)
    monkeypatch.setitem(sys.modules, "ffcv", None)  # as if it were not installed
    assert isinstance(build("auto", path), ResidentLoader)


def test_ffcv_asked_for_but_not_installed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ["ffcv", *(name for name in sys.modules if name.startswith("ffcv."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=r"FFCV cannot be imported .*make setup"):
        build("ffcv", path)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"kind": "webdataset"}, "data.loader='webdataset' is unknown; choose from ffcv, resident, auto"),
    ],
)
def test_bad_input(path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(path=path, **{"kind": "resident"} | changes)


@pytest.mark.parametrize("kind", LOADERS)
def test_a_damaged_file_is_one_line(kind: str, path: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "train.beton"
    damaged.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="cut short"):
        build(kind, damaged)
    with pytest.raises(UserError, match="is missing"):
        build(kind, tmp_path / "nowhere.beton")


def test_free_bytes_is_some_of_the_memory() -> None:
    assert 0 < loaders.free_bytes(torch.device("cpu")) < 2**50


@pytest.mark.parametrize(
    "kind, shuffle", [("resident", True), ("resident", False), ("ffcv", True), ("ffcv", False)]
)
def test_processes_share_every_batch(kind: str, shuffle: bool, path: Path) -> None:
    """70 images in batches of 32 for 5 processes: the last batch of 6 gives one of them 2 images."""
    loader = shared(kind, path, shuffle=shuffle)
    shares = [list(loader.epoch(1, World(rank, 5))) for rank in range(5)]
    for (images, labels), *parts in zip(loader.epoch(1), *shares, strict=True):
        assert torch.equal(images, torch.cat([part for part, _ in parts]))
        assert torch.equal(labels, torch.cat([part for _, part in parts]))
    assert [len(labels) for _, labels in shares[0]] == [7, 7, 2]


@pytest.mark.parametrize("kind", ["resident", "ffcv"])
def test_who_has_no_share_of_a_batch_trains_on_its_first_image_and_evaluates_none(
    kind: str, path: Path
) -> None:
    """The last batch of 70 images holds 6; all processes have to take part in every step of training."""
    train, test = shared(kind, path), shared(kind, path, shuffle=False)
    last = list(train.epoch(0))[-1]
    assert torch.equal(list(train.epoch(0, World(6, 7)))[-1][0], last[0][:1])
    assert [len(list(test.epoch(0, World(rank, 7)))) for rank in (5, 6)] == [3, 2]
    assert len(list(shared(kind, path, batch_size=1).epoch(0, World(1, 2)))) == 70
    assert not list(shared(kind, path, batch_size=1, shuffle=False).epoch(0, World(1, 2)))


def test_an_error_of_ffcvs_thread_arrives(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFCV's own iterator would wait for the lost batch forever."""
    loader = build("ffcv", path)
    assert isinstance(loader, FfcvLoader)
    monkeypatch.setattr(loader._loader, "code", None)
    with pytest.raises(TypeError):
        next(loader.epoch(0))
