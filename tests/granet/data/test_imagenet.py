"""The data set imagenet: folders and lists, packing that is byte-stable and goes on, crops that repeat."""

import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from granet.common.distributed import World
from granet.common.seeds import stable_seed
from granet.data import DATASETS, Data, Packing, beton, jpeg, open_data, prepare
from granet.data.crops import central_boxes, random_boxes
from granet.data.imagenet import imagenet
from granet.data.order import epoch_order
from granet.data.split import Request
from granet.types import UserError
from tests.helpers.image_folder import photographs, write_photographs
from tests.helpers.needs import needs_ffcv

pytestmark = needs_ffcv


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photographs(tmp_path_factory.mktemp("photographs"))


@pytest.fixture(scope="module")
def prepared(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prepared") / "imagenet"
    prepare("imagenet", out, root=root, image_size=64, packing=Packing(100, 90, 0.3))
    return out


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Three classes, 18 training and 6 test images."""
    return write_photographs(tmp_path / "small")


def opened(folder: Path, **changes: Any) -> Data:
    options = {"loader": "ffcv", "batch_size": 64, "seed": 0, "device": "cpu", "num_workers": 2} | changes
    return open_data(folder, **options)


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def line(call: Any) -> str:
    with pytest.raises(UserError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


# ---- sources


def test_class_folders(small: Path) -> None:
    (small / "train" / "n0001" / ".hidden").write_text("")
    source = imagenet(Request(small))
    assert source.classes == ("n0000", "n0001", "n0002")
    assert source.train.names[:2] == ["n0000/000.JPEG", "n0000/001.JPEG"]
    assert source.train.labels.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert source.test.labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_a_list_of_the_test_images_as_imagenet_has_it(small: Path) -> None:
    """Test images in one folder, with the number of their class in a list."""
    for path in sorted((small / "val").glob("*/*")):
        shutil.move(path, small / "val" / f"{path.parent.name}-{path.name}")
    lines = [f"{path.name} {int(path.name[1:5])}" for path in sorted((small / "val").glob("*.JPEG"))]
    (small / "val.txt").write_text("\n".join(reversed(lines)) + "\n")
    test = imagenet(Request(small)).test
    assert test.labels.tolist() == [2, 2, 1, 1, 0, 0]
    assert test.names[0] == "n0002-001.JPEG"


def test_lists_of_numbers_alone(small: Path) -> None:
    for split in ("train", "val"):
        files = sorted((small / split).glob("*/*"))
        for number, path in enumerate(files):
            path.rename(small / split / f"an image {number}.JPEG")
        (small / f"{split}.txt").write_text(
            "".join(f"an image {n}.JPEG {n % 2}\n" for n in range(len(files)))
        )
    source = imagenet(Request(small))
    assert source.classes == ("0", "1")
    assert source.test.labels.tolist() == [0, 1, 0, 1, 0, 1]


def test_faults_of_folders_and_lists(small: Path, tmp_path: Path) -> None:
    assert "data.root is not set" in line(lambda: imagenet(Request()))
    assert "no images in class folders" in line(lambda: imagenet(Request(tmp_path / "nowhere")))
    (small / "val" / "n0002").rename(small / "val" / "n0003")
    assert "class n0003 is in val but not in train" in line(lambda: imagenet(Request(small)))
    shutil.rmtree(small / "val" / "n0003")
    assert "class n0002 is in train but not in val" in line(lambda: imagenet(Request(small)))
    (small / "val.txt").write_text("n0000/000.JPEG n0000\nn0000/001.JPEG\n")
    assert "val.txt:2: 'n0000/001.JPEG' must be a path and a class" in line(lambda: imagenet(Request(small)))


@pytest.mark.parametrize(
    "text, labels",
    [
        ("\ufeffn0000/000.JPEG n0000\r\nn0001/000.JPEG\tn0001\r\nn0002/000.JPEG n0002\r\n", [0, 1, 2]),
        ("n0002/000.JPEG 02\nn0001/000.JPEG 01\nn0000/000.JPEG 00\n", [2, 1, 0]),
    ],
)
def test_lists_as_other_programs_write_them(small: Path, text: str, labels: list[int]) -> None:
    (small / "val.txt").write_bytes(text.encode())
    source = imagenet(Request(small))
    assert source.test.labels.tolist() == labels
    assert source.test.names[1] == "n0001/000.JPEG"


@pytest.mark.parametrize(
    "text, message",
    [
        ("n0000/000.JPEG 1\nn0001/000.JPEG 2\n", "the classes of train.txt start at 1; count them from 0"),
        ("n0000/000.JPEG \xb2\n", "class n0000 is in val but not in train"),
    ],
)
def test_a_list_whose_classes_make_no_sense(small: Path, text: str, message: str) -> None:
    (small / "train.txt").write_text(text, encoding="utf-8")
    assert message in line(lambda: imagenet(Request(small)))


def test_a_list_in_another_encoding(small: Path) -> None:
    (small / "train.txt").write_bytes(b"\xff\xe9.jpg 0\n")
    assert "train.txt is not UTF-8 text" in line(lambda: imagenet(Request(small)))


def test_class_folders_hold_images_alone(small: Path) -> None:
    (small / "train" / "n0001" / "more").mkdir()
    assert "n0001/more: a class folder holds images alone" in line(lambda: imagenet(Request(small)))
    (small / "train" / "n0001" / "more").rmdir()
    (small / "train" / "n0003").mkdir()
    assert "n0003 has no images" in line(lambda: imagenet(Request(small)))


# ---- packing


def test_the_index(prepared: Path) -> None:
    index = json.loads((prepared / "index.json").read_text())
    assert index["num_images"] == {"train": 400, "test": 200}
    assert index["image_size"] == [64, 64] and index["centre"] == 0.875
    assert index["mean"] == [0.485, 0.456, 0.406] and index["std"] == [0.229, 0.224, 0.225]
    assert not list(prepared.parent.glob(".*"))  # the parts are gone


def test_images_keep_their_proportions_within_the_longer_side(prepared: Path, root: Path) -> None:
    records = beton._records(prepared / "train.beton")
    files = DATASETS["imagenet"].load(Request(root)).train
    sizes = [size_of(files.folder / name) for name in files.names]
    for image, (width, height) in zip(records["image"], sizes, strict=True):
        scale = min(1, 100 / max(width, height))
        assert abs(int(image["width"]) - width * scale) < 1 and abs(int(image["height"]) - height * scale) < 1
    raw = (records["image"]["mode"] == jpeg.RAW).mean()
    assert raw == pytest.approx(0.3, abs=0.07)  # three standard deviations of 400 draws
    assert records["label"].tolist() == files.labels.tolist()


def test_the_bytes_do_not_depend_on_the_number_of_threads(
    prepared: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jpeg.os, "sched_getaffinity", lambda _: range(5))
    prepare("imagenet", tmp_path / "again", root=root, image_size=64, packing=Packing(100, 90, 0.3))
    for path in prepared.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_interrupted_packing_goes_on(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpeg, "PART", 4)
    prepare("imagenet", tmp_path / "whole", root=small)
    encoded, encode = [], jpeg.encode

    def until(last: int):
        def encode_or_stop(path: Path, packing: Packing, raw: bool) -> jpeg.Encoded:
            if len(encoded) >= last:
                raise KeyboardInterrupt
            encoded.append(path)
            return encode(path, packing, raw)

        return encode_or_stop

    monkeypatch.setattr(jpeg.os, "sched_getaffinity", lambda _: range(1))
    monkeypatch.setattr(jpeg, "encode", until(10))
    with pytest.raises(KeyboardInterrupt):
        prepare("imagenet", tmp_path / "again", root=small)
    assert not (tmp_path / "again" / "index.json").exists()
    assert len(list((tmp_path / ".again-parts").glob("*.npz"))) == 2  # 8 of the 10 images
    encoded.clear()
    monkeypatch.setattr(jpeg, "encode", until(1000))
    prepare("imagenet", tmp_path / "again", root=small)
    assert len(encoded) == 18 + 6 - 8
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_a_small_set_leaves_the_parts_of_an_interrupted_large_one(small: Path, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    jpeg.write(tmp_path / "large.beton", imagenet(Request(small)).train, np.arange(18), Packing(), parts)
    left = list(parts.iterdir())
    (parts / "killed.123.tmp").touch()
    prepare("imagenet", tmp_path / "out", root=small, train_size=3, test_size=3, parts=parts)
    assert list(parts.iterdir()) == left
    prepare("imagenet", tmp_path / "out", root=small, test_size=3, parts=parts)
    assert not parts.exists()


def test_any_name_of_a_file_will_do(small: Path, tmp_path: Path) -> None:
    folder = small / "train" / "n0000"
    for old, new in (("000", b"\xff\xe9.jpg"), ("001", "\u00fc \u00e9\n.jpg".encode())):
        (folder / f"{old}.JPEG").rename(folder / os.fsdecode(new))
    assert prepare("imagenet", tmp_path / "out", root=small)["num_images"]["train"] == 18


def test_a_changed_image_is_packed_anew(small: Path, tmp_path: Path) -> None:
    packing, parts = Packing(), tmp_path / "parts"
    files = DATASETS["imagenet"].load(Request(small)).train
    jpeg.write(tmp_path / "a.beton", files, np.arange(18), packing, parts)
    image = Image.new("RGB", (90, 70), (255, 0, 0))
    image.save(files.folder / files.names[3], "JPEG")
    jpeg.write(tmp_path / "b.beton", files, np.arange(18), packing, parts)
    records = beton._records(tmp_path / "b.beton")["image"]
    assert (records["width"][3], records["height"][3]) == (90, 70)
    assert (tmp_path / "a.beton").read_bytes() != (tmp_path / "b.beton").read_bytes()


def test_unreadable_images_are_named_and_the_rest_is_kept(small: Path, tmp_path: Path) -> None:
    bad = [small / "train" / "n0001" / f"{number:03}.JPEG" for number in range(6)]
    for path in bad:
        path.write_bytes(path.read_bytes()[:700])  # cut short
    (small / "train" / "n0000" / "000.JPEG").write_text("a text")
    message = line(lambda: prepare("imagenet", tmp_path / "out", root=small))
    assert "000.JPEG is not a readable image" in message and "and 2 more; replace or remove them" in message
    assert message.count("is not a readable image") == jpeg.NAMED
    assert not (tmp_path / "out" / "index.json").exists()


@pytest.mark.parametrize(
    "options, text",
    [
        ((0,), "data.max_side=0 must be 1 to 4096"),
        ((500, 101), "data.jpeg_quality=101 must be 1 to 100"),
        ((500, 90, 1.5), "data.raw_share=1.5 must be 0 to 1"),
    ],
)
def test_a_packing_that_makes_no_sense(options: tuple, text: str) -> None:
    assert text in line(lambda: Packing(*options))


# ---- loading


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
