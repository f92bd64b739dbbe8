"""granet.data.squares: every image of a folder as an RGB square, or one line that names what is wrong."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from granet.data.split import Request
from granet.data.squares import image_squares
from granet.types import UserError
from tests.helpers.image_folder import photographs


def fault(request: Request) -> str:
    with pytest.raises(UserError) as error:
        image_squares(request)
    assert "\n" not in str(error.value)
    return str(error.value)


def write_images(root: Path, splits: dict[str, dict[str, list[tuple[int, int]]]]) -> None:
    """A JPEG per (width, height): the left third red, the middle green, the right blue."""
    for split, classes in splits.items():
        for name, sizes in classes.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for number, (width, height) in enumerate(sizes):
                thirds = np.arange(width) * 3 // width
                pixels = np.zeros((height, width, 3), np.uint8)
                pixels[:, np.arange(width), thirds] = 255
                Image.fromarray(pixels).save(folder / f"{number}.jpg", quality=95)


TWO_CLASSES = {
    "train": {"cat": [(60, 30), (30, 60)], "dog": [(90, 30)]},
    "val": {"cat": [(30, 30)], "dog": [(45, 60)]},
}


def test_image_folder(tmp_path: Path) -> None:
    write_images(tmp_path, TWO_CLASSES)
    (tmp_path / "train/cat/.DS_Store").write_bytes(b"hidden")
    source = image_squares(Request(tmp_path, image_size=24))
    assert source.classes == ("cat", "dog")
    assert source.train.images_NHWC.shape == (3, 24, 24, 3) and source.train.labels.tolist() == [0, 0, 1]
    assert source.test.images_NHWC.shape == (2, 24, 24, 3) and source.test.labels.tolist() == [0, 1]


def test_image_folder_crops_the_centre(tmp_path: Path) -> None:
    write_images(tmp_path, TWO_CLASSES)
    wide = image_squares(Request(tmp_path, image_size=30)).train.images_NHWC[2]
    assert (
        wide[:, 2:-2].argmax(axis=2) == 1
    ).all()  # 90 x 30: the middle third is all that stays, and it is green


def test_image_folder_makes_rgb_of_everything(tmp_path: Path) -> None:
    write_images(tmp_path, TWO_CLASSES)
    Image.new("L", (40, 40), 200).save(tmp_path / "train/dog/grey.png")
    Image.new("RGBA", (40, 40), (10, 20, 30, 40)).save(tmp_path / "train/dog/transparent.png")
    images = image_squares(Request(tmp_path, image_size=16)).train.images_NHWC
    assert images[3, 8, 8].tolist() == [200, 200, 200] and images[4, 8, 8].tolist() == [10, 20, 30]


def test_image_folder_tells_of_orientation_once(tmp_path: Path) -> None:
    write_images(tmp_path, TWO_CLASSES)
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("train/dog/1.jpg", "val/dog/1.jpg"):
        Image.new("RGB", (40, 40)).save(tmp_path / name, exif=exif)
    with pytest.warns(UserWarning, match="^2 of 7 images have an EXIF orientation") as told:
        image_squares(Request(tmp_path, image_size=16))
    assert len(told) == 1


def test_image_folder_takes_test_where_there_is_no_val(tmp_path: Path) -> None:
    write_images(tmp_path, {"train": TWO_CLASSES["train"], "test": TWO_CLASSES["val"]})
    assert len(image_squares(Request(tmp_path, image_size=16)).test) == 2


def test_image_folder_names_the_unreadable_file(tmp_path: Path) -> None:
    write_images(tmp_path, TWO_CLASSES)
    path = tmp_path / "val/dog/0.jpg"
    path.write_bytes(path.read_bytes()[:300])
    assert str(path) in fault(Request(tmp_path, image_size=16))
    path.write_bytes(b"not an image")
    assert str(path) in fault(Request(tmp_path, image_size=16))


def test_image_folder_faults(tmp_path: Path) -> None:
    ask = Request(tmp_path, image_size=16)
    assert "data.root is not set" in fault(Request(image_size=16))
    assert "no images in class folders" in fault(ask)
    write_images(tmp_path, {"train": TWO_CLASSES["train"], "val": {"cat": [(30, 30)], "cow": [(30, 30)]}})
    assert "data.image_size=null" in fault(Request(tmp_path))
    assert "class cow is in val but not in train" in fault(ask)
    (tmp_path / "val/cow").rename(tmp_path / "val/dog")
    (tmp_path / "val/dog/0.jpg").unlink()
    assert "val/dog has no images" in fault(ask)


def test_image_folder_too_large_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path, TWO_CLASSES)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    assert "TMPDIR=" in fault(Request(tmp_path, image_size=16))


def test_photographs(tmp_path: Path) -> None:
    source = image_squares(Request(photographs(tmp_path), image_size=64))
    assert np.bincount(source.train.labels).tolist() == [40] * 10
    assert np.bincount(source.test.labels).tolist() == [20] * 10
    assert source.train.images_NHWC.std() > 30  # photographs, not a constant
