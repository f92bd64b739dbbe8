"""granet.data.prepared: a prepared data set is opened whole, or one line says what is wrong with it."""

import hashlib
from pathlib import Path
from typing import Any

from granet.data import DataConfig, beton, open_data, prepare
from tests.helpers.needs import needs_ffcv

pytestmark = needs_ffcv

SMALL = DataConfig(train_size=100, val_size=33, test_size=50)


def open_digits(folder: Path) -> Any:
    return open_data(folder, loader="resident", batch_size=32, seed=0, device="cpu")


def test_open_data(tmp_path: Path) -> None:
    index = prepare("digits", tmp_path, SMALL)
    data = open_digits(tmp_path)
    assert (data.num_classes, data.image_shape, data.train.num_images) == (10, (3, 32, 32), 100)
    assert {name: loader.num_images for name, loader in data.evaluated.items()} == {"val": 33, "test": 50}
    assert data.augment.mean == tuple(index["mean"]) and data.augment.mode == "zero"
    test_labels = [label for _, labels in data.evaluated["test"].epoch(0) for label in labels.tolist()]
    assert test_labels == beton.read(tmp_path / "test.beton").labels.tolist()  # in file order
    train_labels = [label for _, labels in data.train.epoch(0) for label in labels.tolist()]
    assert train_labels != beton.read(tmp_path / "train.beton").labels.tolist()  # shuffled
    assert data.md5 == hashlib.md5((tmp_path / "index.json").read_bytes()).hexdigest()
