"""granet.data.root: data.root as people write it; and what lies at the wrong place is named with the right one."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from granet.data.datasets import DATASETS
from granet.data.folder import image_files
from granet.data.root import expanded
from granet.data.split import Request
from granet.types import UserError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes, an image of each in both splits, in a folder below tmp_path."""
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (tmp_path / "mine/photos" / split / name).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(tmp_path / "mine/photos" / split / name / "0.png")
    return tmp_path / "mine/photos"


def line(root: Path, load: Callable = image_files) -> str:
    with pytest.raises(UserError) as error:
        load(Request(root))
    assert "\n" not in str(error.value) and str(error.value).startswith(f"data.root={root}: ")
    return str(error.value)


@pytest.mark.parametrize(
    "form", ["~/photos", "${oc.env:HOME}/photos", "{}/photos/", "{}/other/../photos", "{}/link"]
)
def test_forms_that_work(form: str, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(photos.parent))
    (photos.parent / "other").mkdir()
    (photos.parent / "link").symlink_to(photos)
    root = expanded(form.replace("{}", str(photos.parent)))
    assert image_files(Request(root)).classes == ("cat", "dog")


@pytest.mark.parametrize(
    "text, message",
    [
        ("${oc.env:NOWHERE}/x", "the variable NOWHERE is not set; write the whole path"),
        ("~nobody-of-this-name/x", "there is no home folder ~nobody-of-this-name; write the whole path"),
    ],
)
def test_what_cannot_be_expanded(text: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOWHERE", raising=False)
    with pytest.raises(UserError) as error:
        expanded(text)
    assert str(error.value) == f"data.root={text}: {message}"


def test_a_shells_variable_is_not_expanded(photos: Path) -> None:
    assert "variables are not expanded: write ~ or the whole path" in line(photos / "$HOME")


@pytest.mark.parametrize("wrong", ["photos/train", "photos/train/cat", "photos/train/cat/0.png", "", ".."])
def test_the_right_level_is_named(wrong: str, photos: Path) -> None:
    assert f"; write data.root={photos};" in line(photos.parent / wrong)


def test_the_right_level_behind_a_link(photos: Path) -> None:
    (photos.parent / "link").symlink_to(photos / "train")
    assert f"it holds cat/, dog/; write data.root={photos};" in line(photos.parent / "link")


def test_what_is_found_is_named(photos: Path, tmp_path: Path) -> None:
    assert f"there is no such folder; {photos} holds train/, val/;" in line(photos / "nowhere/deep")
    (tmp_path / "photos.zip").write_bytes(b"")
    assert "it is a file; unpack it, and name the folder" in line(tmp_path / "photos.zip")
    (photos / "val").rename(photos / "validation")
    assert "it holds train/, validation/;" in (message := line(photos)) and "write data.root" not in message
    (photos / "train/cat/0.png").rename(photos / "train/0.png")
    (photos / "train/dog/0.png").unlink()
    for name in ("cat", "dog"):
        (photos / "train" / name).rmdir()
    assert f"nor in train.txt; {photos / 'train'}: it holds 0.png;" in line(photos)


def test_a_link_to_nowhere(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    assert f"the link leads nowhere; {tmp_path} " in line(tmp_path / "link")


def test_a_folder_named_test_is_no_sign(tmp_path: Path) -> None:
    (root := tmp_path / "test" / "mine").mkdir(parents=True)
    assert "it is empty;" in (message := line(root)) and "write data.root" not in message


@pytest.mark.parametrize("wrong", ["cifar-10-batches-py", "..", ""])
def test_cifar_at_another_level(wrong: str, tmp_path: Path) -> None:
    (folder := tmp_path / "mine" / "cifar-10-batches-py").mkdir(parents=True)
    message = line((tmp_path / "mine" / wrong), DATASETS["cifar10"].load)
    expected = f"{folder}: it is empty" if wrong == "" else f"write data.root={tmp_path / 'mine'};"
    assert "data_batch_1 is missing; " in message and expected in message


def test_cifar_still_in_its_archive(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-python.tar.gz").touch()
    message = line(tmp_path, DATASETS["cifar10"].load)
    assert f"{tmp_path}: it holds cifar-10-python.tar.gz; unpack cifar-10-python.tar.gz there" in message
