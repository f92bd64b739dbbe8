"""granet.data.folder: class folders and lists, and one line for everything that can be wrong with them."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from granet.data.folder import image_files
from granet.data.split import Request
from granet.types import UserError
from tests.helpers.image_folder import write_photographs


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Three classes, 18 training and 6 test images."""
    return write_photographs(tmp_path / "small")


def line(call: Any) -> str:
    with pytest.raises(UserError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_class_folders(small: Path) -> None:
    (small / "train" / "n0001" / ".hidden").write_text("")
    source = image_files(Request(small))
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
    test = image_files(Request(small)).test
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
    source = image_files(Request(small))
    assert source.classes == ("0", "1")
    assert source.test.labels.tolist() == [0, 1, 0, 1, 0, 1]


def test_faults_of_folders_and_lists(small: Path, tmp_path: Path) -> None:
    assert "data.root is not set" in line(lambda: image_files(Request()))
    assert "no images in class folders" in line(lambda: image_files(Request(tmp_path / "nowhere")))
    (small / "val" / "n0002").rename(small / "val" / "n0003")
    assert "class n0003 is in val but not in train" in line(lambda: image_files(Request(small)))
    shutil.rmtree(small / "val" / "n0003")
    assert "class n0002 is in train but not in val" in line(lambda: image_files(Request(small)))
    (small / "val.txt").write_text("n0000/000.JPEG n0000\nn0000/001.JPEG\n")
    assert "val.txt:2: 'n0000/001.JPEG' must be a path and a class" in line(
        lambda: image_files(Request(small))
    )


@pytest.mark.parametrize(
    "text, labels",
    [
        ("\ufeffn0000/000.JPEG n0000\r\nn0001/000.JPEG\tn0001\r\nn0002/000.JPEG n0002\r\n", [0, 1, 2]),
        ("n0002/000.JPEG 02\nn0001/000.JPEG 01\nn0000/000.JPEG 00\n", [2, 1, 0]),
    ],
)
def test_lists_as_other_programs_write_them(small: Path, text: str, labels: list[int]) -> None:
    (small / "val.txt").write_bytes(text.encode())
    source = image_files(Request(small))
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
    assert message in line(lambda: image_files(Request(small)))


def test_a_list_in_another_encoding(small: Path) -> None:
    (small / "train.txt").write_bytes(b"\xff\xe9.jpg 0\n")
    assert "train.txt is not UTF-8 text" in line(lambda: image_files(Request(small)))


def test_class_folders_hold_images_alone(small: Path) -> None:
    (small / "train" / "n0001" / "more").mkdir()
    assert "n0001/more: a class folder holds images alone" in line(lambda: image_files(Request(small)))
    (small / "train" / "n0001" / "more").rmdir()
    (small / "train" / "n0003").mkdir()
    assert "n0003 has no images" in line(lambda: image_files(Request(small)))


def test_what_operating_systems_leave_is_passed_over(small: Path) -> None:
    for name in ("Thumbs.db", "desktop.ini", "._x.JPEG", ".DS_Store", "Icon\r"):
        (small / "train/n0001" / name).write_bytes(b"junk")
    for name in ("__MACOSX/n0000", "@eaDir", "lost+found", ".ipynb_checkpoints"):
        (small / "train" / name).mkdir(parents=True)
    source = image_files(Request(small))
    assert source.classes == ("n0000", "n0001", "n0002") and len(source.train) == 18


def test_numbered_folders_and_a_list_from_0_stay_apart(small: Path) -> None:
    """Folders 1 to 3, listed as 0 to 2 for training: every label of both splits is that of its folder."""
    for split in ("train", "val"):
        for number in range(3):
            (small / split / f"n{number:04}").rename(small / split / str(number + 1))
    lines = [f"{path.relative_to(small / 'train')}" for path in sorted((small / "train").glob("*/*"))]
    (small / "train.txt").write_text("".join(f"{line} {int(line[0]) - 1}\n" for line in lines))
    source = image_files(Request(small))
    assert source.classes == ("1", "2", "3")
    for split in (source.train, source.test):
        assert [source.classes[label] for label in split.labels] == [name[0] for name in split.names]


def test_a_gap_in_the_numbers_is_refused(small: Path) -> None:
    (small / "train.txt").write_text("x.JPEG 0\ny.JPEG 2\n")
    (small / "val.txt").write_text("x.JPEG 0\ny.JPEG 2\n")
    assert "class 1 has no image in train; count without a gap" in line(lambda: image_files(Request(small)))


def test_any_name_makes_one_line(small: Path) -> None:
    (small / "val" / "n0002").rename(small / "val" / "a\nb")
    assert r"class 'a\nb' is in val but not in train" in line(lambda: image_files(Request(small)))
