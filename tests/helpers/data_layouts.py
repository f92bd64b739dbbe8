"""Images in the layouts of SVHN, Fashion-MNIST, Tiny-ImageNet and Hugging Face, for tests of the paths that read them.

The content is scikit-learn's digits, so md5s are not the official ones. Each writer returns what it has written.
"""

import gzip
import io
import json
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from scipy.io import savemat

from granet.data.digits import digits
from granet.data.split import Request, Split

NUM_TRAIN, NUM_TEST = 30, 20


def some(size: int) -> tuple[Split, Split]:
    """A few training and test images of the ten digits."""
    source = digits(Request(image_size=size))
    cut = [
        Split(split.images_NHWC[:number], split.labels[:number])
        for split, number in ((source.train, NUM_TRAIN), (source.test, NUM_TEST))
    ]
    return cut[0], cut[1]


def write_svhn(root: Path) -> tuple[Split, Split]:
    """train_32x32.mat and test_32x32.mat, in which the digit 0 has label 10."""
    splits = some(32)
    for name, split in zip(("train", "test"), splits, strict=True):
        labels = np.where(split.labels == 0, 10, split.labels).astype(np.uint8)
        images_HWCN = split.images_NHWC.transpose(1, 2, 3, 0)
        savemat(root / f"{name}_32x32.mat", {"X": images_HWCN, "y": labels[:, None]}, do_compression=True)
    return splits


def write_idx(path: Path, array: np.ndarray) -> None:
    """A gzipped idx file of bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


def write_fashion_mnist(root: Path) -> tuple[Split, Split]:
    """The four files in FashionMNIST/raw."""
    splits = some(28)
    for name, split in zip(("train", "t10k"), splits, strict=True):
        write_idx(root / f"FashionMNIST/raw/{name}-images-idx3-ubyte.gz", split.images_NHWC[..., 0])
        write_idx(root / f"FashionMNIST/raw/{name}-labels-idx1-ubyte.gz", split.labels)
    return splits


def write_tiny_imagenet(root: Path) -> tuple[Split, Split]:
    """tiny-imagenet-200 with ten classes, in PNG for exact pixels: some of the images grey, as in the original."""
    folder, splits = root / "tiny-imagenet-200", some(64)
    for index, (image, label) in enumerate(zip(splits[0].images_NHWC, splits[0].labels, strict=True)):
        path = folder / f"train/n{label:08}/images/n{label:08}_{index}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0] if index % 2 else image).save(path, "PNG")
    for label in set(splits[0].labels.tolist()):
        (folder / f"train/n{label:08}/n{label:08}_boxes.txt").write_text("")
    (folder / "val/images").mkdir(parents=True)
    lines = []
    for index, (image, label) in enumerate(zip(splits[1].images_NHWC, splits[1].labels, strict=True)):
        Image.fromarray(image).save(folder / f"val/images/val_{index}.JPEG", "PNG")
        lines.append(f"val_{index}.JPEG\tn{label:08}\t0\t0\t63\t63\n")
    (folder / "val/val_annotations.txt").write_text("".join(lines))
    return splits


def png(image: np.ndarray) -> bytes:
    """A PNG file's bytes."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def hf_table(split: Split, *, names: bool = True, embedded: bool = True, image: str = "image") -> pa.Table:
    """Images and labels as the library `datasets` writes them: structs of bytes and path, features in the metadata."""
    cells = [{"bytes": png(each) if embedded else None, "path": "x.png"} for each in split.images_NHWC]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    table = pa.table({image: pa.array(cells, kind), "label": pa.array(split.labels, pa.int64())})
    features = {image: {"_type": "Image"}, "label": {"dtype": "int64", "_type": "Value"}}
    if names:
        features["label"] = {"names": [f"digit {n}" for n in range(10)], "_type": "ClassLabel"}  # type: ignore[dict-item]
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def write_hf_saved(root: Path) -> tuple[Split, Split]:
    """As DatasetDict.save_to_disk leaves it: Arrow streams, the training split in two of them."""
    splits = some(32)
    root.mkdir(parents=True, exist_ok=True)
    (root / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    for name, split, number in zip(("train", "test"), splits, (2, 1), strict=True):
        (root / name).mkdir()
        table, files = hf_table(split), []
        for part in range(number):
            files.append({"filename": f"data-{part:05}-of-{number:05}.arrow"})
            start, stop = (len(split) * p // number for p in (part, part + 1))
            path = str(root / name / files[-1]["filename"])
            with pa.OSFile(path, "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table.slice(start, stop - start))
        (root / name / "state.json").write_text(json.dumps({"_data_files": files}))
    return splits


def write_hf_parquet(root: Path) -> tuple[Split, Split]:
    """As the hub stores it: data/train-00000-of-00001.parquet and the other."""
    splits = some(32)
    (root / "data").mkdir(parents=True, exist_ok=True)
    for name, split in zip(("train", "test"), splits, strict=True):
        pq.write_table(hf_table(split), root / f"data/{name}-00000-of-00001.parquet")
    return splits
