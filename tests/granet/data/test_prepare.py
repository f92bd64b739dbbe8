"""granet.data.prepare: sizes, held-out images, the index, and the same bytes every time."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from granet.data import DATASETS, DataConfig, beton, prepare
from granet.data.prepare import channel_stats
from granet.data.split import Request, Split
from granet.types import UserError
from tests.helpers.cifar_layout import write_cifar10
from tests.helpers.needs import needs_ffcv

pytestmark = needs_ffcv


def images_of(path: Path) -> set[bytes]:
    return {image.tobytes() for image in beton.read(path).images_NHWC}


def counts(path: Path) -> list[int]:
    return np.bincount(beton.read(path).labels).tolist()


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_all_of_digits(tmp_path: Path) -> None:
    index = prepare("digits", tmp_path, DataConfig())
    source = DATASETS["digits"].load(Request())
    assert sorted(files(tmp_path)) == ["index.json", "test.beton", "train.beton"]
    np.testing.assert_array_equal(beton.read(tmp_path / "train.beton").images_NHWC, source.train.images_NHWC)
    np.testing.assert_array_equal(beton.read(tmp_path / "test.beton").labels, source.test.labels)
    assert json.loads((tmp_path / "index.json").read_text()) == index
    pixels = source.train.images_NHWC / 255
    assert index == {
        "format_version": 1,
        "dataset": "digits",
        "classes": list("0123456789"),
        "num_images": {"train": 1437, "test": 360},
        "image_size": [32, 32],
        "mean": pytest.approx(pixels.mean((0, 1, 2)).tolist(), abs=1e-6),
        "std": pytest.approx(pixels.std((0, 1, 2)).tolist(), abs=1e-6),
        "padding": 4,
        "mode": "zero",
        "flip": False,
        "source_md5": source.md5,
        "md5": {
            f"{name}.beton": hashlib.md5((tmp_path / f"{name}.beton").read_bytes()).hexdigest()
            for name in ("train", "test")
        },
    }


SMALL = {"train_size": 100, "val_size": 33, "test_size": 50}


def test_subsets_are_balanced_and_disjoint(tmp_path: Path) -> None:
    index = prepare("digits", tmp_path, DataConfig(**SMALL))
    assert index["num_images"] == {"train": 100, "val": 33, "test": 50}
    assert counts(tmp_path / "train.beton") == [10] * 10
    assert sorted(counts(tmp_path / "val.beton")) == [3] * 7 + [4] * 3
    assert counts(tmp_path / "test.beton") == [5] * 10
    assert not images_of(tmp_path / "train.beton") & images_of(tmp_path / "val.beton")


def test_the_same_bytes_every_time(tmp_path: Path) -> None:
    prepare("digits", tmp_path / "once", DataConfig(**SMALL))
    prepare("digits", tmp_path / "twice", DataConfig(**SMALL))
    prepare("digits", tmp_path / "other", DataConfig(**SMALL, seed=1))
    assert files(tmp_path / "once") == files(tmp_path / "twice")
    assert images_of(tmp_path / "once/train.beton") != images_of(tmp_path / "other/train.beton")


def test_default_hold_out(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    ask: dict[str, Any] = {"root": str(tmp_path), "verify": False}
    with pytest.raises(
        UserError, match=r"data\.val_size=5000 is too much: the training split has only 1437 images"
    ):
        prepare(
            "cifar10", tmp_path / "out", DataConfig(**ask)
        )  # 5,000 of what it takes to be all of CIFAR-10
    assert prepare("cifar10", tmp_path / "out", DataConfig(**ask, train_size=200))["num_images"] == {
        "train": 200,
        "test": 360,
    }
    held_out = prepare("cifar10", tmp_path / "out", DataConfig(**ask, val_size=37))
    assert held_out["num_images"] == {"train": 1400, "val": 37, "test": 360}
    assert (held_out["padding"], held_out["mode"], held_out["flip"]) == (4, "reflect", True)


def test_preparing_again_leaves_nothing_old(tmp_path: Path) -> None:
    prepare("digits", tmp_path, DataConfig(**SMALL))
    prepare("digits", tmp_path, DataConfig(train_size=100, test_size=50))
    assert sorted(files(tmp_path)) == ["index.json", "test.beton", "train.beton"]


@pytest.mark.parametrize(
    "sizes, message",
    [
        ({"train_size": 1438}, "data.train_size=1438 with data.val_size=0 is too much: .* only 1437"),
        ({"train_size": 1000, "val_size": 438}, "data.train_size=1000 with data.val_size=438 is too much"),
        ({"val_size": 1437}, "data.val_size=1437 is too much"),
        ({"test_size": 361}, "data.test_size=361 is too much: the test split has only 360"),
    ],
)
def test_sizes_the_data_cannot_fill(sizes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        prepare("digits", tmp_path / "out", DataConfig(**sizes))
    assert not (tmp_path / "out").exists()


def test_unknown_dataset(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dataset='mnist' is unknown; choose from digits, cifar10"):
        prepare("mnist", tmp_path, DataConfig())


def test_channel_stats_by_hand() -> None:
    images_NHWC = np.zeros((3, 1, 2, 3), np.uint8)
    images_NHWC[0, 0, :, 0] = 255, 0  # red: 255, 0; green: 51 twice; blue: 0; image 2 is not chosen
    images_NHWC[0, 0, :, 1] = 51
    images_NHWC[2] = 77
    split = Split(images_NHWC, np.zeros(3, np.int64))
    assert channel_stats(split, np.array([0])) == (
        [0.5, 0.2, 0.0],
        [0.5, 1.0, 1.0],
    )  # constant ones: by nothing


def test_a_constant_channel_is_scaled_by_nothing() -> None:
    images = np.zeros((4, 2, 2, 3), np.uint8)
    images[:2, ..., 0] = 255
    mean, std = channel_stats(Split(images, np.zeros(4, np.int64)), np.arange(4))
    assert (mean, std) == ([0.5, 0.0, 0.0], [0.5, 1.0, 1.0])
