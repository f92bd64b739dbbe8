"""granet.data.sources: every data set's reader, and one line for everything that can be wrong with its files."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from granet.data.cifar import cifar
from granet.data.prepare import channel_stats
from granet.data.sources import DATASETS
from granet.data.split import Request, Source, Split
from granet.types import UserError
from tests.helpers.cifar_layout import write_cifar10, write_cifar100

SHARED = Path(__file__).parents[2] / "../shared/data"


def assert_same(one: Split, other: Split) -> None:
    np.testing.assert_array_equal(one.images_NHWC, other.images_NHWC)
    np.testing.assert_array_equal(one.labels, other.labels)


def fault(name: str, request: Request) -> str:
    with pytest.raises(UserError) as caught:
        DATASETS[name].load(request)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_rows_are_keyed_by_name_and_their_held_out_images_exist() -> None:
    for name, row in DATASETS.items():
        assert row.name == name and row.val_size < (row.num_train or 1)


# digits


def test_digits() -> None:
    source = DATASETS["digits"].load(Request())
    assert source.train.images_NHWC.shape == (1437, 32, 32, 3) and source.test.images_NHWC.shape == (
        360,
        32,
        32,
        3,
    )
    assert len(source.train) == DATASETS["digits"].num_train
    assert np.bincount(source.test.labels).tolist() == [36] * 10
    assert source.classes == tuple("0123456789")
    assert source.md5 == DATASETS["digits"].load(Request()).md5


def test_digits_are_upscaled_from_the_bundled_ones() -> None:
    from sklearn.datasets import load_digits

    bundled: Any = load_digits()
    source = DATASETS["digits"].load(Request(image_size=8))  # 8 x 8 is the original size
    images = np.concatenate([source.train.images_NHWC, source.test.images_NHWC])
    originals = np.rint(bundled.images * 255 / 16)
    assert images.max() == 255  # the originals' 16
    assert sorted(image[..., 1].tobytes() for image in images) == sorted(
        image.astype(np.uint8).tobytes() for image in originals
    )


# CIFAR


@pytest.mark.parametrize("name, write", [("cifar10", write_cifar10), ("cifar100", write_cifar100)])
def test_cifar_layout_gives_back_what_was_written(
    name: str, write: Callable[[Path], Source], tmp_path: Path
) -> None:
    written = write(tmp_path)
    source = DATASETS[name].load(Request(tmp_path, verify=False))
    assert source.classes == written.classes and source.md5 == written.md5
    assert_same(source.train, written.train)
    assert_same(source.test, written.test)


def test_cifar_with_other_content_is_refused_unless_asked_for(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    message = fault("cifar10", Request(tmp_path))
    assert f"data.root={tmp_path}" in message and "data_batch_1 is not the official file" in message
    assert "cifar-10-python.tar.gz" in message and "data.verify=false" in message


@pytest.mark.parametrize(
    "name, archive", [("cifar10", "cifar-10-python.tar.gz"), ("cifar100", "cifar-100-python.tar.gz")]
)
def test_cifar_missing(name: str, archive: str, tmp_path: Path) -> None:
    message = fault(name, Request(tmp_path))
    assert f"data.root={tmp_path}" in message and "is missing" in message and archive in message
    assert archive in fault(name, Request())


def test_cifar_one_file_missing(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    (tmp_path / "cifar-10-batches-py/data_batch_4").unlink()
    assert "data_batch_4 is missing" in fault("cifar10", Request(tmp_path, verify=False))


@pytest.mark.parametrize("keep", [0, 100, 100_000])
def test_cifar_cut_short(keep: int, tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    path = tmp_path / "cifar-10-batches-py/data_batch_2"
    path.write_bytes(path.read_bytes()[:keep])
    assert "cannot be read" in fault("cifar10", Request(tmp_path, verify=False))


def test_cifar_has_one_size(tmp_path: Path) -> None:
    assert "data.image_size=64" in fault("cifar10", Request(tmp_path, image_size=64))


@pytest.fixture(scope="module")
def real_cifar10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    script = SHARED / "unpack_cifar10.py"
    if not script.exists():
        pytest.skip("the real CIFAR-10 lies in ../shared, which is not here")
    root = tmp_path_factory.mktemp("cifar10")
    subprocess.run([sys.executable, script, root], check=True)
    return root


def test_real_cifar10(real_cifar10: Path) -> None:
    source = DATASETS["cifar10"].load(Request(real_cifar10))
    assert np.bincount(source.train.labels).tolist() == [5000] * 10
    assert np.bincount(source.test.labels).tolist() == [1000] * 10
    assert source.classes[:3] == ("airplane", "automobile", "bird")
    mean, std = channel_stats(source.train, np.arange(50_000))
    assert [round(m, 4) for m in mean] == [
        0.4914,
        0.4822,
        0.4465,
    ]  # the constants that everybody normalises by
    assert [round(s, 4) for s in std] == [0.2470, 0.2435, 0.2616]


@pytest.mark.filterwarnings("ignore:dtype.*align")  # torchvision reads the old pickles without our filter
def test_real_cifar10_is_what_torchvision_reads(real_cifar10: Path) -> None:
    from torchvision.datasets import CIFAR10

    official = CIFAR10(real_cifar10, train=False)
    source = cifar("CIFAR10", Request(real_cifar10))
    np.testing.assert_array_equal(source.test.images_NHWC, official.data)
    assert source.test.labels.tolist() == official.targets and list(source.classes) == official.classes


def test_real_cifar10_cut_short(real_cifar10: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for path in (real_cifar10 / folder.name).iterdir():
        (folder / path.name).symlink_to(path)
    cut = folder / "test_batch"
    content = cut.read_bytes()
    cut.unlink()
    cut.write_bytes(content[:-1000])
    assert "test_batch is not the official file" in fault("cifar10", Request(tmp_path))


# image folders


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
    source = DATASETS["imagefolder"].load(Request(tmp_path, image_size=24))
    assert source.classes == ("cat", "dog")
    assert source.train.images_NHWC.shape == (3, 24, 24, 3) and source.train.labels.tolist() == [0, 0, 1]
    assert source.test.images_NHWC.shape == (2, 24, 24, 3) and source.test.labels.tolist() == [0, 1]


def test_image_folder_crops_the_centre(tmp_path: Path) -> None:
    write_images(tmp_path, TWO_CLASSES)
    wide = DATASETS["imagefolder"].load(Request(tmp_path, image_size=30)).train.images_NHWC[2]
    assert (
        wide[:, 2:-2].argmax(axis=2) == 1
    ).all()  # 90 x 30: the middle third is all that stays, and it is green


def test_image_folder_makes_rgb_of_everything(tmp_path: Path) -> None:
    write_images(tmp_path, TWO_CLASSES)
    Image.new("L", (40, 40), 200).save(tmp_path / "train/dog/grey.png")
    Image.new("RGBA", (40, 40), (10, 20, 30, 40)).save(tmp_path / "train/dog/transparent.png")
    images = DATASETS["imagefolder"].load(Request(tmp_path, image_size=16)).train.images_NHWC
    assert images[3, 8, 8].tolist() == [200, 200, 200] and images[4, 8, 8].tolist() == [10, 20, 30]


def test_image_folder_takes_test_where_there_is_no_val(tmp_path: Path) -> None:
    write_images(tmp_path, {"train": TWO_CLASSES["train"], "test": TWO_CLASSES["val"]})
    assert len(DATASETS["imagefolder"].load(Request(tmp_path, image_size=16)).test) == 2


def test_image_folder_names_the_unreadable_file(tmp_path: Path) -> None:
    write_images(tmp_path, TWO_CLASSES)
    path = tmp_path / "val/dog/0.jpg"
    path.write_bytes(path.read_bytes()[:300])
    assert str(path) in fault("imagefolder", Request(tmp_path, image_size=16))
    path.write_bytes(b"not an image")
    assert str(path) in fault("imagefolder", Request(tmp_path, image_size=16))


def test_image_folder_faults(tmp_path: Path) -> None:
    ask = Request(tmp_path, image_size=16)
    assert "data.root is not set" in fault("imagefolder", Request(image_size=16))
    assert "no class folders" in fault("imagefolder", ask)
    write_images(tmp_path, {"train": TWO_CLASSES["train"], "val": {"cat": [(30, 30)], "cow": [(30, 30)]}})
    assert "data.image_size=null" in fault("imagefolder", Request(tmp_path))
    assert "class cow is in only one of train/ and val/" in fault("imagefolder", ask)
    (tmp_path / "val/cow").rename(tmp_path / "val/dog")
    (tmp_path / "val/dog/0.jpg").unlink()
    assert "val/dog has no images" in fault("imagefolder", ask)


def test_image_folder_too_large_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path, TWO_CLASSES)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    assert "TMPDIR=" in fault("imagefolder", Request(tmp_path, image_size=16))


def test_real_image_folder() -> None:
    root = SHARED / "imagenette"
    if not root.is_dir():
        pytest.skip("the real JPEGs lie in ../shared, which is not here")
    source = DATASETS["imagefolder"].load(Request(root, image_size=64))
    assert np.bincount(source.train.labels).tolist() == [40] * 10
    assert np.bincount(source.test.labels).tolist() == [20] * 10
    assert source.train.images_NHWC.std() > 50  # photographs, not a constant


# what every source gives


def test_split_refuses_what_is_no_split() -> None:
    images, labels = np.zeros((2, 4, 4, 3), np.uint8), np.zeros(2, np.int64)
    for wrong in (
        (images.astype(np.float32), labels),
        (images[..., :1], labels),
        (images, labels[:1]),
        (images[:0], labels[:0]),
    ):
        with pytest.raises(ValueError, match="images"):
            Split(*wrong)
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.1"):
        Source(Split(images, labels), Split(images, labels + 2), ("a", "b"))
