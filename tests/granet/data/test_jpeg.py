"""granet.data.jpeg: packing that is byte-stable and goes on after an interruption, or names what it cannot read."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from granet.data import DataConfig, beton, jpeg, prepare
from granet.data.folder import image_files
from granet.data.split import Request
from granet.types import UserError
from tests.helpers.image_folder import photographs, write_photographs
from tests.helpers.needs import needs_ffcv

pytestmark = needs_ffcv

PACKING = jpeg.Packing(max_side=500, quality=90, raw_share=0.0)


def config_of(root: Path) -> DataConfig:
    return DataConfig(root=str(root), image_size=64, max_side=100, raw_share=0.3)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photographs(tmp_path_factory.mktemp("photographs"))


@pytest.fixture(scope="module")
def prepared(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prepared") / "imagenet"
    prepare("imagenet", out, config_of(root))
    return out


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Three classes, 18 training and 6 test images."""
    return write_photographs(tmp_path / "small")


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def line(call: Any) -> str:
    with pytest.raises(UserError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_index(prepared: Path) -> None:
    index = json.loads((prepared / "index.json").read_text())
    assert index["num_images"] == {"train": 400, "test": 200}
    assert index["image_size"] == [64, 64] and index["centre"] == 0.875
    assert index["mean"] == [0.485, 0.456, 0.406] and index["std"] == [0.229, 0.224, 0.225]
    assert not list(prepared.parent.glob(".*"))  # the parts are gone


def test_images_keep_their_proportions_within_the_longer_side(prepared: Path, root: Path) -> None:
    records = beton._records(prepared / "train.beton")
    files = image_files(Request(root)).train
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
    prepare("imagenet", tmp_path / "again", config_of(root))
    for path in prepared.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_interrupted_packing_goes_on(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpeg, "PART", 4)
    prepare("imagenet", tmp_path / "whole", DataConfig(root=str(small)))
    encoded, encode = [], jpeg.encode

    def until(last: int):
        def encode_or_stop(path: Path, packing: jpeg.Packing, raw: bool) -> jpeg.Encoded:
            if len(encoded) >= last:
                raise KeyboardInterrupt
            encoded.append(path)
            return encode(path, packing, raw)

        return encode_or_stop

    monkeypatch.setattr(jpeg.os, "sched_getaffinity", lambda _: range(1))
    monkeypatch.setattr(jpeg, "encode", until(10))
    with pytest.raises(KeyboardInterrupt):
        prepare("imagenet", tmp_path / "again", DataConfig(root=str(small)))
    assert not (tmp_path / "again" / "index.json").exists()
    assert len(list((tmp_path / ".again-parts").glob("*.npz"))) == 2  # 8 of the 10 images
    encoded.clear()
    monkeypatch.setattr(jpeg, "encode", until(1000))
    prepare("imagenet", tmp_path / "again", DataConfig(root=str(small)))
    assert len(encoded) == 18 + 6 - 8
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_a_small_set_leaves_the_parts_of_an_interrupted_large_one(small: Path, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    jpeg.write(tmp_path / "large.beton", image_files(Request(small)).train, np.arange(18), PACKING, parts)
    left = list(parts.iterdir())
    (parts / "killed.123.tmp").touch()
    prepare("imagenet", tmp_path / "out", DataConfig(root=str(small), train_size=3, test_size=3), parts=parts)
    assert list(parts.iterdir()) == left
    prepare("imagenet", tmp_path / "out", DataConfig(root=str(small), test_size=3), parts=parts)
    assert not parts.exists()


def test_any_name_of_a_file_will_do(small: Path, tmp_path: Path) -> None:
    folder = small / "train" / "n0000"
    for old, new in (("000", b"\xff\xe9.jpg"), ("001", "\u00fc \u00e9\n.jpg".encode())):
        (folder / f"{old}.JPEG").rename(folder / os.fsdecode(new))
    assert prepare("imagenet", tmp_path / "out", DataConfig(root=str(small)))["num_images"]["train"] == 18


def test_a_changed_image_is_packed_anew(small: Path, tmp_path: Path) -> None:
    packing, parts = PACKING, tmp_path / "parts"
    files = image_files(Request(small)).train
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
    message = line(lambda: prepare("imagenet", tmp_path / "out", DataConfig(root=str(small))))
    assert "000.JPEG is not a readable image" in message and "and 2 more; replace or remove them" in message
    assert message.count("is not a readable image") == jpeg.NAMED
    assert not (tmp_path / "out" / "index.json").exists()


def test_orientation_is_told_once_after_an_interruption_too(small: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("train/n0001/000.JPEG", "train/n0002/003.JPEG", "val/n0000/001.JPEG"):
        Image.new("RGB", (80, 60)).save(small / name, exif=exif)
    train = image_files(Request(small)).train
    parts = tmp_path / "parts"
    jpeg.write(
        tmp_path / "before.beton", train, np.arange(18), PACKING, parts
    )  # and killed before the test images
    with pytest.warns(UserWarning, match="^3 of 24 images have an EXIF orientation") as told:
        prepare("imagenet", tmp_path / "out", DataConfig(root=str(small)), parts=parts)
    assert len(told) == 1


def test_a_wide_grey_keeps_its_brightness(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 100).astype(np.uint16).reshape(10, 10)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    pixels = jpeg.encode(tmp_path / "ramp.png", PACKING, True).data.reshape(10, 10, 3)
    np.testing.assert_array_equal(pixels[..., 0], ramp >> 8)
