"""granet.data.reading: files of JPEGs, whose crops are functions of (seed, epoch), through the one interface."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from granet.common.distributed import World
from granet.common.seeds import stable_seed
from granet.data import Data, DataConfig, beton, jpeg, open_data, prepare
from granet.data.crops import central_boxes, random_boxes
from granet.data.order import epoch_order
from granet.types import UserError
from tests.helpers.image_folder import photographs
from tests.helpers.needs import needs_ffcv

pytestmark = needs_ffcv


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = photographs(tmp_path_factory.mktemp("photographs"))
    out = tmp_path_factory.mktemp("prepared") / "imagenet"
    prepare("imagenet", out, DataConfig(root=str(root), image_size=64, max_side=100, raw_share=0.3))
    return out


def opened(folder: Path, **changes: Any) -> Data:
    options = {"loader": "ffcv", "batch_size": 64, "seed": 0, "device": "cpu", "num_workers": 2} | changes
    return open_data(folder, **options)


def line(call: Any) -> str:
    with pytest.raises(UserError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


def check_against_opencv(
    path: Path, numbers: list[int], boxes_N4: np.ndarray, images_BCHW: torch.Tensor
) -> None:
    """Pillow's decoder and OpenCV's area average: raw images exactly; the two JPEG decoders differ a little."""
    import cv2

    images, file = beton._records(path)["image"], path.read_bytes()
    table = int(np.frombuffer(file, beton.HEADER, 1)["table"][0])
    sizes = np.frombuffer(file, beton.TABLE_ROW, len(images), table)["size"]
    for seen, number in zip(images_BCHW, numbers, strict=True):
        image, (top, left, rows, columns) = images[number], boxes_N4[number].tolist()
        data = file[int(image["start"]) : int(image["start"]) + int(sizes[number])]
        if image["mode"] == jpeg.RAW:
            whole = Image.frombytes("RGB", (int(image["width"]), int(image["height"])), data)
        else:
            whole = Image.open(io.BytesIO(data))
        box = np.asarray(whole)[top : top + rows, left : left + columns]
        wanted = cv2.resize(box, (64, 64), interpolation=cv2.INTER_AREA).astype(int)
        difference = np.abs(seen.permute(1, 2, 0).numpy() - wanted).mean()
        assert difference == 0 if image["mode"] == jpeg.RAW else difference < 2


def test_training_sees_the_boxes_of_its_seed_and_epoch(prepared: Path) -> None:
    path = prepared / "train.beton"
    images = beton._records(path)["image"]
    rng = np.random.default_rng(stable_seed("crop", 0, 2))
    boxes_N4 = random_boxes(images["height"], images["width"], rng)
    images_BCHW, _ = next(opened(prepared).train.epoch(2))
    check_against_opencv(path, epoch_order(0, 2, 400)[:64].tolist(), boxes_N4, images_BCHW)


def test_evaluation_sees_the_centre_of_every_image_in_order(prepared: Path) -> None:
    data = opened(prepared)
    batches = list(data.evaluated["test"].epoch(0))
    labels = torch.cat([labels for _, labels in batches]).tolist()
    records = beton._records(prepared / "test.beton")
    assert labels == records["label"].tolist() and len(labels) == 200
    boxes_N4 = central_boxes(records["image"]["height"], records["image"]["width"], 0.875)
    check_against_opencv(prepared / "test.beton", list(range(64)), boxes_N4, batches[0][0])
    for (one, _), (other, _) in zip(batches, data.evaluated["test"].epoch(5), strict=True):
        assert torch.equal(one, other)


def test_an_epoch_is_the_same_for_any_number_of_threads_and_again_after_resuming(prepared: Path) -> None:
    one, two = opened(prepared, num_workers=1), opened(prepared, num_workers=2)
    straight = [list(one.train.epoch(epoch)) for epoch in (0, 1)]
    for (images, labels), (same_images, same_labels) in zip(straight[1], two.train.epoch(1), strict=True):
        assert torch.equal(images, same_images) and torch.equal(labels, same_labels)
    assert not torch.equal(straight[0][0][0], straight[1][0][0])
    other_seed = next(opened(prepared, seed=1).train.epoch(1))[0]
    assert not torch.equal(straight[1][0][0], other_seed)


def test_an_epoch_left_half_way_keeps_its_crops(prepared: Path) -> None:
    train = opened(prepared).train
    straight = list(train.epoch(0))
    half = train.epoch(0)
    next(half)
    next(train.epoch(1))
    for (images, _), (same_images, _) in zip(straight[1:], half, strict=True):
        assert torch.equal(images, same_images)


def test_a_process_decodes_its_share_alone(prepared: Path) -> None:
    data = opened(prepared)
    shares = [list(data.train.epoch(1, World(rank, 3))) for rank in range(3)]
    for (images, labels), *parts in zip(data.train.epoch(1), *shares, strict=True):
        assert torch.equal(images, torch.cat([part for part, _ in parts]))
        assert torch.equal(labels, torch.cat([part for _, part in parts]))


def test_what_the_network_gets_is_flipped_and_normalised(prepared: Path) -> None:
    data = opened(prepared)
    images_BCHW, _ = next(data.train.epoch(0))
    seen = data.augment.train(images_BCHW, torch.Generator().manual_seed(0))
    plain = data.augment.evaluate(images_BCHW)
    flipped = [torch.equal(one, other.flip(-1)) for one, other in zip(seen, plain, strict=True)]
    straight = [torch.equal(one, other) for one, other in zip(seen, plain, strict=True)]
    assert all(a != b for a, b in zip(flipped, straight, strict=True)) and 10 < sum(flipped) < 54
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 3, 1, 1)
    torch.testing.assert_close(plain, (images_BCHW / 255 - mean) / std, rtol=0, atol=1e-5)
    assert data.image_shape == (3, 64, 64)


def test_resident_is_refused_with_the_memory_it_would_take(prepared: Path) -> None:
    message = line(lambda: opened(prepared, loader="resident"))
    assert "data.loader=resident" in message and " MiB" in message and "set data.loader=ffcv" in message


def test_auto_reads_with_ffcv(prepared: Path) -> None:
    assert type(opened(prepared, loader="auto").train).__name__ == "FfcvLoader"
