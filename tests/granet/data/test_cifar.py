"""granet.data.cifar: the official files, and one line for everything that can be wrong with them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from granet.data.cifar import cifar
from granet.data.datasets import DATASETS
from granet.data.prepare import channel_stats
from granet.data.split import Request, Source, Split
from granet.types import UserError
from tests.helpers import real_data
from tests.helpers.cifar_layout import write_cifar10, write_cifar100


def assert_same(one: Split, other: Split) -> None:
    np.testing.assert_array_equal(one.images_NHWC, other.images_NHWC)
    np.testing.assert_array_equal(one.labels, other.labels)


def fault(name: str, request: Request) -> str:
    with pytest.raises(UserError) as error:
        DATASETS[name].load(request)
    assert "\n" not in str(error.value)
    return str(error.value)


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


def test_cifar_has_one_size(tmp_path: Path) -> None:
    assert "data.image_size=64" in fault("cifar10", Request(tmp_path, image_size=64))


@pytest.fixture(scope="module")
def real_cifar10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cifar10")
    if not real_data.write_cifar10(root):
        pytest.skip(f"the real CIFAR-10 is not here; {real_data.VARIABLE} may name a folder that has it")
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
