"""granet.data.sources: what the authors' layouts hold comes out, and what is wrong with them is one line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from granet.data import DATASETS, DataConfig, open_data, prepare
from granet.data.split import Request, Split
from granet.types import UserError
from tests.helpers import data_layouts as layouts
from tests.helpers.image_folder import write_photographs

WRITERS = {
    "svhn": layouts.write_svhn,
    "fashion_mnist": layouts.write_fashion_mnist,
    "tiny_imagenet": layouts.write_tiny_imagenet,
}
FACES = {"saved": layouts.write_hf_saved, "parquet": layouts.write_hf_parquet}


def load(name: str, root: Path | None, **request: Any) -> Any:
    return DATASETS[name].load(Request(root, **{"verify": False, **request}))


def fault(name: str, root: Path | None, **request: Any) -> str:
    with pytest.raises(UserError) as error:
        load(name, root, **request)
    assert "\n" not in str(error.value)
    return str(error.value)


def assert_same(split: Split, written: Split, order: np.ndarray | None = None) -> None:
    order = np.arange(len(written)) if order is None else order
    np.testing.assert_array_equal(split.images_NHWC, written.images_NHWC[order])
    np.testing.assert_array_equal(split.labels, written.labels[order])


@pytest.mark.parametrize("name", WRITERS)
def test_what_was_written_comes_back(name, tmp_path):
    train, test = WRITERS[name](tmp_path)
    source = load(name, tmp_path)
    by_class = [
        f"{label:08}/n{label:08}_{index}.JPEG" for index, label in enumerate(train.labels)
    ]  # as folders list them
    assert_same(source.train, train, np.argsort(by_class) if name == "tiny_imagenet" else None)
    assert_same(source.test, test)
    assert len(source.classes) == 10


def test_the_classes_have_their_names(tmp_path):
    for name, write in WRITERS.items():
        write(tmp_path)
        first = load(name, tmp_path).classes[0]
        assert first == {"svhn": "0", "fashion_mnist": "T-shirt/top", "tiny_imagenet": "n00000000"}[name]


@pytest.mark.parametrize("layout", FACES)
def test_hugging_face_images_come_back_with_the_names_of_classes(layout, tmp_path):
    train, test = FACES[layout](tmp_path)
    source = load("huggingface", tmp_path)
    assert_same(source.train, train)
    assert_same(source.test, test)
    assert source.classes[:2] == ("digit 0", "digit 1")
    assert load("huggingface", tmp_path, image_size=16).train.images_NHWC.shape[1:] == (16, 16, 3)


def test_a_split_without_labels_is_passed_over_and_numbers_are_classes(tmp_path):
    """ImageNet's test split on the hub has -1 in the place of labels; classes without names are their numbers."""
    train, test = layouts.some(32)
    hidden = Split(test.images_NHWC, np.full_like(test.labels, -1))
    for name, split in (("train", train), ("test", hidden), ("validation", test)):
        pq.write_table(layouts.hf_table(split, names=False, image="img"), tmp_path / f"{name}-0.parquet")
    source = load("huggingface", tmp_path)
    assert_same(source.test, test)
    assert source.classes == tuple(map(str, range(10)))


def test_imagenet100_takes_the_classes_of_its_list(tmp_path):
    write_photographs(tmp_path, num_classes=4)
    (tmp_path / "imagenet100.txt").write_text("n0003\nn0001 a bonnet\n\n")
    source = load("imagenet100", tmp_path)
    assert source.classes == ("n0001", "n0003")
    assert source.train.labels.tolist() == [0] * 6 + [1] * 6 and source.test.labels.tolist() == [0, 0, 1, 1]
    assert {name.partition("/")[0] for name in source.train.names[6:]} == {"n0003"}
    (tmp_path / "other.txt").write_text("n0000\nn0002\n")
    assert load("imagenet100", tmp_path, classes=tmp_path / "other.txt").classes == ("n0000", "n0002")


@pytest.mark.parametrize(
    ("name", "size", "padding", "flip"),
    [
        ("svhn", 32, 0, False),
        ("fashion_mnist", 28, 4, True),
        ("tiny_imagenet", 64, 4, True),
        ("huggingface", 32, 4, True),
    ],
)
def test_prepared_they_are_what_training_reads(name, size, padding, flip, tmp_path):
    train, test = {**WRITERS, "huggingface": layouts.write_hf_parquet}[name](tmp_path)
    index = prepare(name, tmp_path / "out", DataConfig(root=str(tmp_path), verify=False, val_size=10))
    assert index["num_images"] == {"train": len(train) - 10, "val": 10, "test": len(test)}
    data = open_data(tmp_path / "out", loader="resident", batch_size=5, seed=0, device="cpu")
    assert data.image_shape == (3, size, size) and data.num_classes == 10
    assert (data.augment.padding, data.augment.flip) == (padding, flip)
    images, labels = next(iter(data.evaluated["test"].epoch(0)))
    np.testing.assert_array_equal(images.permute(0, 2, 3, 1).numpy(), test.images_NHWC[:5])
    assert labels.tolist() == test.labels[:5].tolist()


def test_imagenet100_is_prepared_by_its_key(tmp_path):
    write_photographs(tmp_path / "raw", num_classes=3)
    (tmp_path / "two.txt").write_text("n0000\nn0002\n")
    config = DataConfig(
        root=str(tmp_path / "raw"), classes=str(tmp_path / "two.txt"), image_size=32, max_side=64
    )
    index = prepare("imagenet100", tmp_path / "out", config)
    assert index["classes"] == ["n0000", "n0002"] and index["num_images"] == {"train": 12, "test": 4}
    assert index["mean"] == [0.485, 0.456, 0.406]


@pytest.mark.parametrize("name", ["svhn", "fashion_mnist"])
def test_other_files_are_refused_unless_asked_for(name, tmp_path):
    WRITERS[name](tmp_path)
    assert "is not the official file (its md5 differs" in (message := fault(name, tmp_path, verify=True))
    assert "data.verify=false" in message


def cut(path: str, size: int = 100):
    return lambda root: (root / path).write_bytes((root / path).read_bytes()[:size])


def write(path: str, text: str):
    return lambda root: (root / path).write_text(text)


def gone(path: str):
    return lambda root: (root / path).rename(root / "elsewhere")


RAW = "FashionMNIST/raw/"
VAL = "tiny-imagenet-200/val/val_annotations.txt"
FAULTS = [
    ("svhn", gone("test_32x32.mat"), {}, r"test_32x32.mat is missing; it holds .*; download test_32x32.mat"),
    ("svhn", cut("train_32x32.mat"), {}, r"train_32x32.mat cannot be read \(.*\); download it again"),
    ("svhn", None, {"image_size": 64}, "image_size=64 but SVHN's images are 32 x 32"),
    ("fashion_mnist", gone(RAW + "t10k-labels-idx1-ubyte.gz"), {}, "t10k-labels-idx1-ubyte.gz is missing"),
    (
        "fashion_mnist",
        cut(RAW + "train-images-idx3-ubyte.gz"),
        {},
        "train-images-idx3-ubyte.gz cannot be rea",
    ),
    ("fashion_mnist", None, {"image_size": 32}, "image_size=32 but Fashion-MNIST's images are 28 x 28"),
    ("tiny_imagenet", gone(VAL), {}, r"val_annotations.txt is missing; .*imagefolder"),
    ("tiny_imagenet", write(VAL, "val_0.JPEG n00000000\n"), {}, r"val_annotations.txt:1: .* a tab between"),
    ("tiny_imagenet", write(VAL, "x.JPEG\tn00000001\t0\n"), {}, r"x.JPEG is not a readable image"),
    ("tiny_imagenet", write(VAL, ""), {}, r"val_annotations.txt is empty"),
    ("tiny_imagenet", gone("tiny-imagenet-200/train"), {}, r"train is missing; it holds"),
    ("huggingface", gone("test/state.json"), {}, r"test/state.json cannot be read"),
    ("huggingface", cut("test/data-00000-of-00001.arrow"), {}, r"00001.arrow cannot be read"),
    (
        "huggingface",
        gone("dataset_dict.json"),
        {},
        r"its splits are none; a train and one of test, validation",
    ),
    (
        "huggingface",
        None,
        {"label": "fine"},
        r"data.label='fine' is no column of data.root=.*: image, label$",
    ),
]


@pytest.mark.parametrize(("name", "spoil", "request_", "message"), FAULTS)
def test_a_wrong_layout_is_one_line(name, spoil, request_, message, tmp_path):
    {**WRITERS, "huggingface": layouts.write_hf_saved}[name](tmp_path)
    if spoil is not None:
        spoil(tmp_path)
    with pytest.raises(UserError, match=message):
        load(name, tmp_path, **request_)
    fault(name, tmp_path, **request_)


@pytest.mark.parametrize("name", [*WRITERS, "huggingface", "imagenet100"])
def test_without_a_folder_it_is_said_what_lies_there(name):
    assert fault(name, None).startswith("data.root is not set; set it to the folder of ")


def parquet(root: Path, **tables: Any) -> None:
    for name, table in tables.items():
        pq.write_table(table, root / f"{name}.parquet")


def test_what_a_hugging_face_table_may_lack(tmp_path):
    train, test = layouts.some(32)
    parquet(tmp_path, train=layouts.hf_table(train, embedded=False), test=layouts.hf_table(test))
    assert "has its path alone; save the data set with its images" in fault("huggingface", tmp_path)
    small = Split(test.images_NHWC[:, :16, :16], test.labels)
    parquet(tmp_path, train=layouts.hf_table(train), test=layouts.hf_table(small))
    assert "several sizes, as 32 x 32 and 16 x 16 pixels; set one" in fault("huggingface", tmp_path)
    wide = Split(train.images_NHWC[:, :16], train.labels)
    parquet(tmp_path, train=layouts.hf_table(wide))
    assert "images are 32 x 16 pixels; set a size" in fault("huggingface", tmp_path)
    both = layouts.hf_table(train)
    info = json.loads(both.schema.metadata[b"huggingface"])
    info["info"]["features"]["coarse"] = info["info"]["features"]["label"]
    two = both.append_column("coarse", both["label"]).replace_schema_metadata(
        {"huggingface": json.dumps(info)}
    )
    parquet(tmp_path, train=two, test=two)
    assert "several label columns: label, coarse; set data.label" in fault("huggingface", tmp_path)
    assert len(load("huggingface", tmp_path, label="coarse").classes) == 10
    parquet(tmp_path, train=both.drop_columns("image"))
    assert "train.parquet has no image column" in fault("huggingface", tmp_path)
    empty = both.set_column(
        both.schema.get_field_index("label"), "label", [[None, *both["label"].to_pylist()[1:]]]
    )
    parquet(tmp_path, train=empty.replace_schema_metadata(None), test=both.replace_schema_metadata(None))
    assert "train.parquet has rows without a label (label is null)" in fault("huggingface", tmp_path)


def test_hugging_face_classes_are_the_same_ones_everywhere(tmp_path):
    """A split, or a file of one, whose numbers mean other classes."""
    train, test = map(layouts.hf_table, layouts.some(32))
    info = json.loads(test.schema.metadata[b"huggingface"])
    info["info"]["features"]["label"]["names"].reverse()
    other = test.replace_schema_metadata({"huggingface": json.dumps(info)})
    parquet(tmp_path, train=train, test=other)
    assert "so one number means two; cast both to the same ClassLabel" in fault("huggingface", tmp_path)
    (tmp_path / "test.parquet").unlink()
    parquet(tmp_path, **{"train": train, "test-00000-of-00002": test, "test-00001-of-00002": other})
    wrong = "test-00001-of-00002.parquet has other classes than test-00000-of-00002.parquet"
    assert wrong in fault("huggingface", tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "imagenet100.txt is missing; write the names of the class folders there"),
        ("\n", "imagenet100.txt is empty"),
        ("n0000\nn0000\n", "n0000 is there twice"),
        ("n0000\nn0777\n", "n0777 is no class of data.root="),
    ],
)
def test_a_bad_list_of_classes_is_one_line(text, message, tmp_path):
    write_photographs(tmp_path, num_classes=2, num_train=1, num_val=1)
    if text is not None:
        (tmp_path / "imagenet100.txt").write_text(text)
    assert message in fault("imagenet100", tmp_path)
