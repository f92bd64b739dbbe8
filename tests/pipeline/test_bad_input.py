"""Whatever is wrong with what a user gives: one line that says what, where and what to do; and nothing is lost."""

import importlib
import os
import shutil
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from granet.models import build
from pipeline.cli import run_main
from tests.helpers.cifar_layout import write_cifar10
from tests.helpers.image_folder import write_photographs
from tests.helpers.small_project import DENSE, PLASTICITY, PRETRAIN, SPARSE, write_project
from tests.helpers.spoil import (
    RECORD,
    Call,
    Spoil,
    change,
    cut,
    flip,
    folder,
    gone,
    has,
    lacks,
    link,
    nothing,
    number,
    swap,
    text,
)


class Case(NamedTuple):
    """What is broken by ``spoil``, the command that meets it, and the words of the line in which that ends."""

    id: str
    spoil: Spoil
    command: str
    words: list[str]
    code: int = 2


def table(command: str, common: str, *rows: tuple[str, Spoil, str]) -> list[Case]:
    """Rows (id, spoil, words) of one command; words are parted by " | ", and ``common`` are those of all rows."""
    return [Case(name, spoil, command, f"{words} | {common}".split(" | ")) for name, spoil, words in rows]


def commands(*rows: tuple[str, str]) -> list[Case]:
    """Rows (command, words) without anything broken."""
    return [Case(command, nothing, command, words.split(" | ")) for command, words in rows]


FILE, ANEW = "params.yaml", "python -m pipeline.params recipe=quick"
SEEDS = "seeds: [0]"


def params(old: str, new: str) -> Spoil:
    return swap(FILE, old, new)


PARAMS = [
    *table(
        "train dense",
        f"{FILE} | {ANEW}",
        ("missing", gone(FILE), "is missing"),
        ("a folder", folder(FILE), "is a folder; move it"),
        ("empty", text(FILE, ""), "holds no sections"),
        ("a list", text(FILE, "- grid\n- train\n"), "holds no sections"),
        ("a word", text(FILE, "grid"), "holds no sections"),
        ("not UTF-8", text(FILE, b"grid: \xff\xfe"), "can't decode byte 0xff"),
        ("a zero byte", text(FILE, "grid: \0"), "unacceptable character #x0000"),
        ("an open bracket", params(SEEDS, "seeds: [0"), "line 8, column"),
        ("a tab", params("  seeds", "\tseeds"), "line 7, column 1"),
        ("a key twice", params("  seeds", "  models: []\n  seeds"), 'duplicate key "models" | line 7'),
        ("a section twice", text(FILE, "train: {}\ntrain: {}\n"), 'duplicate key "train" | line 2'),
        ("two documents", text(FILE, "grid: {}\n---\ntrain: {}\n"), "another document | line 2"),
        ("a conflict of Git", text(FILE, "<<<<<<< HEAD\ngrid: {}\n=======\n"), "line 2"),
        ("a call", params("[0.98]", "!!python/object/apply:os.mkdir [executed]"), "os.mkdir | line 6"),
        ("an unknown tag", params(SEEDS, "seeds: !x [0]"), "tag '!x' | line 7"),
        ("an alias of nothing", params(SEEDS, "seeds: *x"), "alias 'x' | line 7"),
        ("too deep", text(FILE, "grid: " + "[" * 500), "recursion"),
        ("no date", params(SEEDS, "seeds: 2024-13-45"), "month"),
        ("no grid", params("grid:", "grids:"), "no section grid | add it, as grid: {"),
    ),
    *table(
        "train dense",
        "",
        ("an alias of itself", params(SEEDS, "seeds: &x [*x]"), "grid.seeds=[[...]] | valid integer"),
        ("a date", params(SEEDS, "seeds: [2024-01-01]"), "grid.seeds=[datetime.date | valid integer"),
        ("an empty section", params("sis: {method: sis}", "sis:"), "sis names no method | write method: sis"),
        ("a number for a section", params("sis: {method: sis}", "sis: 3"), "sis names no method"),
        (
            "an unknown section",
            params("sis: {method: sis}", "trian: {}"),
            "trian is an unknown | mean train?",
        ),
        ("a path for a section", params("sis:", "../sis:"), "section '../sis' | write a letter, then"),
        ("an unknown key", params("epochs: 2", "epoch: 2"), "train.epoch is an unknown key | mean epochs?"),
        ("another type", params("epochs: 2", "epochs: two"), "train.epochs='two' | must be a valid integer"),
        ("out of range", params("epochs: 2", "epochs: 0"), "train.epochs=0 | must be at least 1"),
        ("an unknown method", params("method: sis", "method: sos"), "sis.method='sos' | did you mean sis?"),
    ),
    *table(
        "params train.lr=0.2",
        "",
        ("an empty list", params(SEEDS, "seeds: []"), "grid.seeds=[] is empty | at least one entry"),
        ("an entry twice", params(SEEDS, "seeds: [0, 0]"), "grid.seeds=[0, 0] | remove one"),
    ),
]

COMMANDS = commands(
    ("params quick", "'quick' is no argument | write key=value | recipe"),
    ("params recipes=quick", "'recipes=quick' is no argument | write key=value | recipe"),
    ("params recipe=table99", "recipe='table99' | did you mean table9?"),
    ("params recipe=", "recipe= is empty | write a value"),
    ("params recipe=quick recipe=ci", "recipe=ci comes twice | leave one out"),
    ("params nothing.at=1", "nothing is an unknown section | choose from"),
    ("params gmp.interval=1", "gmp.interval is an unknown key | did you mean update_interval?"),
    ("params train.epochs=[1", "'train.epochs=[1' | close its brackets"),
    ("params train.lr=-1", "train.lr=-1.0 | above 0"),
    ("params train.lr", "'train.lr' | write section.key=value"),
    ("params grid.reinit=[dense]", "grid.reinit='dense' | add it there or remove it here"),
    ("params grid.export=[filter-0.1]", "grid.export='filter-0.1' | add it there or remove it here"),
    ("params grid.pretrain=[x-1]", "grid.pretrain='x-1' | e.g. element-0.9"),
    ("prepare out=", "out= is empty | leave it out"),
    ("prepare seed=1", "'seed=1' | it takes dataset, out"),
    ("prepare dataset=mnist", "dataset='mnist' | choose from digits"),
    ("prepare data.train_size=9999", "data.train_size=9999 | lower one"),
    ("prepare data.image_size=15", "data.image_size=15 | [16, 4096]"),
    (f"prepare out={FILE}/x", f"{FILE}/x cannot be a folder: {FILE} is a file | name another"),
    ("train", "'' is no stage | write one of dense"),
    ("train daft", "'daft' is no stage | write one of dense"),
    ("train dense lr=1", "'lr=1' | it takes dataset, model, seed"),
    ("train dense sparsity=0.9", "'sparsity=0.9' | it takes dataset"),
    ("train dense seed=1 seed=2", "seed=2 comes twice | leave one out"),
    ("train dense out=", "out= is empty | leave it out"),
    ("train dense seed=one", "seed='one' | of type int"),
    ("train dense seed=-1", "seed=-1 | at least 0"),
    ("train dense dataset=mnist", "dataset='mnist' | choose from"),
    ("train dense dataset=../x", "dataset='../x' | choose from"),
    ("train dense dataset=cifar10", "cifar10/index.json is missing | dvc repro prepare"),
    ("train dense model=resnet20b", "model='resnet20b' | did you mean resnet20?"),
    ("train sparse method=magic", f"method='magic' | section of {FILE}: dense, gmp"),
    ("train sparse method=sis", "method='sis' | run: python -m pipeline.train after"),
    ("train after method=gmp", "method='gmp' | run: python -m pipeline.train sparse"),
    ("train sparse sparsity=half", "sparsity='half' | of type float"),
    ("train sparse sparsity=1.5", "sparsity=1.5 | in (0, 1)"),
    ("train sparse sparsity=nan", "sparsity=nan | in (0, 1)"),
    ("train sparse gmp.update_interval=99ep", "gmp: update_interval=495 | lower update_interval"),
    ("train sparse gmp.update_interval=often", "gmp.update_interval='often' | write steps as"),
    ("train sparse gmp.extend=0", "gmp.extend=0.0 | at least 1"),
    ("train retrain rewind=later", "rewind='later' | choose from lrr, lth"),
    ("train pretrain network=filter-x", "network='filter-x' | e.g. element-0.9"),
    ("train dense train.epoch=3", "train.epoch is an unknown key | did you mean epochs?"),
    ("train dense data.seed=1", "data.seed=1 | dvc repro prepare"),
    ("train dense data.loader=dali", "data.loader='dali' | ffcv, resident or auto"),
    ("train dense train.device=tpu", "train.device='tpu' | try auto or cpu"),
    (f"train dense out={FILE}", f"{FILE} cannot be a folder | name another"),
    ("train dense out=/proc/x", "/proc/x cannot be a folder | name another"),
    ("train after seed=7", "dense/digits-resnet20-7/model | dvc repro dense@digits-resnet20-7"),
    ("train reinit seed=7", "masks.safetensors is missing | dvc repro sparse@digits-resnet20-gmp-0.98-7"),
    ("plasticity network=row-1", "network='row-1' | e.g. element-0.9"),
    ("plasticity network=element-0.9", "element-0.9-0/summary.json is missing | dvc repro pretrain@"),
    ("plasticity train.lr=0.2", "train.lr=0.2 | was trained with 0.1 | write that"),
    ("plasticity plasticity.epochs=[9]", "plasticity.epochs=[9] | write epochs up to 1"),
    ("plasticity plasticity.epochs=[1,1]", "plasticity.epochs=[1, 1] | none twice"),
    (f"plasticity out={FILE}", f"{FILE} cannot be a folder | name another"),
    ("export", "run=FOLDER is missing | e.g. run=runs/"),
    ("export run=", "run= is empty | write a value"),
    ("export folder=x", "'folder=x' | it takes run, out, compile"),
    ("export run=nowhere compile=1", "compile='1' | must be true or false"),
    ("export run=nowhere", "nowhere/summary.json is missing | train this run again"),
    (f"export run={FILE}", f"{FILE}/summary.json is missing | train this run again"),
    ("budgets run=x distribution=erk", "run= | distribution= | give one of them"),
    ("budgets model=resnet20b", "model='resnet20b' | choose one of resnet20"),
    ("budgets sparsity=x", "sparsity='x' | write numbers"),
    ("budgets sparsity=1.5 model=resnet20", "sparsity=1.5 | in [0, 1)"),
    ("budgets model=resnet20 out=runs", "runs is a folder | name another"),
    ("budgets run=data", "run=data holds no finished run | give a folder"),
    ("code now", "'now' | takes no arguments"),
    ("report now", "'now' | takes no arguments"),
    ("checkpoints remove", "'remove' | delete STAGE|all"),
    ("checkpoints delete dense", "no run of 'dense' | lists them"),
    ("launch -j 0", "argument -j: 0 | at least 1"),
    ("launch --executor cloud", "'cloud' | choose from | --help"),
)

INDEX, TRAIN = "data/prepared/digits/index.json", "data/prepared/digits/train.beton"
PREPARED = [
    *table(
        "train dense",
        f"{INDEX} | dvc repro prepare",
        ("index: missing", gone(INDEX), "is missing"),
        ("index: a folder", folder(INDEX), "is missing"),
        ("index: empty", text(INDEX, ""), "is not valid JSON"),
        ("index: cut", cut(INDEX), "is not valid JSON"),
        ("index: not UTF-8", text(INDEX, b'{"a": "\xff"}'), "is not valid JSON"),
        ("index: too deep", text(INDEX, "[" * 10**5), "is not valid JSON"),
        ("index: a list", text(INDEX, "[1]"), "format_version None, not 1"),
        ("index: another version", has(INDEX, format_version=9), "format_version 9, not 1"),
        ("index: no classes", lacks(INDEX, "classes"), "classes | required"),
        ("index: a class that is no text", has(INDEX, classes=[1]), "classes.0 | string"),
        (
            "index: no image",
            has(INDEX, num_images={"train": 0, "test": 9}),
            "num_images.train | greater than 0",
        ),
        ("index: no test images", lacks(INDEX, "num_images", "test"), "num_images has no test"),
        ("index: a path", has(INDEX, num_images={"../x": 1}), "num_images.../x"),
        ("index: no spread", has(INDEX, std=[0, 0, 0]), "std.0 | greater than 0"),
        ("index: an unknown mode", has(INDEX, mode="wrap"), "mode | 'reflect' or 'zero'"),
        ("index: a size in words", has(INDEX, image_size=["a", 32]), "image_size.0"),
    ),
    *table(
        "train dense",
        f"{TRAIN} | dvc repro prepare",
        ("beton: of another size", has(INDEX, image_size=[48, 32]), "32 x 32 pixels, not 48 x 32"),
        ("beton: more classes", has(INDEX, classes=list("012345678")), "labels of 10 classes, not 9"),
        ("beton: fewer images", has(INDEX, num_images={"train": 201, "test": 100}), "200 images, not 201"),
        ("beton: missing", gone(TRAIN), "is missing"),
        ("beton: empty", text(TRAIN, ""), "is cut short at 0 bytes"),
        ("beton: cut", cut(TRAIN), "it is cut short"),
        ("beton: grown", lambda: os.truncate(TRAIN, 10**7), "cut short or changed"),
        ("beton: zeros", text(TRAIN, bytes(10**6)), "was never finished"),
        ("beton: a picture", text(TRAIN, b"\x89PNG\r\n\x1a\n" + b"x" * 100), "version 20617, not 2"),
        ("beton: another version", number(TRAIN, 0, "<H", 3), "version 3, not 2"),
        ("beton: other fields", number(TRAIN, 24, "<B", 4), "does not hold images with labels"),
        ("beton: another class", number(TRAIN, RECORD + 16, "<q", 12), "labels of 13 classes, not 10"),
        ("beton: a negative class", number(TRAIN, RECORD + 16, "<q", -1), "of no class"),
        ("beton: another width", number(TRAIN, RECORD + 1, "<H", 64), "not of its size"),
        ("beton: an image elsewhere", number(TRAIN, RECORD + 5, "<Q", 2**63), "beyond its pages"),
    ),
]

ONE, META = "raw/cifar-10-batches-py/data_batch_1", "raw/cifar-10-batches-py/batches.meta"
CIFAR = "prepare dataset=cifar10 data.root=raw data.verify=false data.train_size=100 data.val_size=0"
ARCHIVES = [
    *table(
        CIFAR,
        "data.root= | cifar-10-python.tar.gz",
        ("a file is missing", gone(ONE), "data_batch_1 is missing"),
        ("empty", text(ONE, ""), "data_batch_1: EOFError"),
        ("cut", cut(ONE), "data_batch_1 | truncated"),
        ("a text", text(ONE, "hello\n"), "data_batch_1"),
        ("a list", change(ONE, lambda _: [1]), "data_batch_1 | 'list'"),
        ("no pixels", lacks(ONE, b"data"), "KeyError: 'data'"),
        ("no labels", lacks(ONE, b"labels"), "labels"),
        ("fewer labels", change(ONE, lambda b: b | {b"labels": [0]}), "need as many int64 labels"),
        ("swapped labels", change(ONE, lambda b: b | {b"labels": [99] * 288}), "0..9, got 0..99"),
        ("labels in words", change(ONE, lambda b: b | {b"labels": ["cat"] * 288}), "'cat'"),
        ("images of another size", change(ONE, lambda b: b | {b"data": b[b"data"][:, :300]}), "dimension"),
        ("pixels of another kind", change(ONE, lambda b: b | {b"data": b[b"data"] / 2}), "must be uint8"),
        ("pixels that are none", change(ONE, lambda b: b | {b"data": 3}), "dimension"),
        ("fewer names", change(META, lambda m: {b"label_names": m[b"label_names"][:5]}), "0..4, got 0..9"),
        ("a call", change(ONE, lambda b: b | {b"x": Call()}), "data_batch_1 | asks for posix.mkdir"),
        ("a call among the names", change(META, lambda m: m | {b"x": Call()}), "batches.meta | posix.mkdir"),
        ("eval", text(ONE, b"cbuiltins\neval\n(S'1'\ntR."), "data_batch_1 | asks for builtins.eval"),
        ("a name within", text(ONE, b"\x80\x04\x8c\x05numpy\x8c\x0cndarray.sort\x93."), "numpy.ndarray.sort"),
    ),
    *table(CIFAR.replace("=raw", "=no"), "data.root= | no such folder", ("no folder", nothing, "tar.gz")),
    *table(CIFAR.replace("=raw", "=x.tar"), "unpack it", ("a file for a folder", text("x.tar", ""), "x.tar")),
    *table(
        CIFAR.replace("=false", "=true"),
        "data.verify=false",
        ("another md5", nothing, "md5 differs | batch_1"),
    ),
    *table(CIFAR.replace("=100", "=5000"), "lower one", ("too many asked for", nothing, "train_size=5000")),
    *table(f"{CIFAR} data.image_size=64", "null", ("another size asked for", nothing, "data.image_size=64")),
]

IMAGE, LIST = "photos/train/n0001/002.JPEG", "photos/train.txt"
PHOTOS = (
    "prepare dataset=imagefolder data.root=photos data.image_size=32 "
    "data.train_size=null data.val_size=0 data.test_size=null"
)


def listed(line: str) -> Spoil:
    return text(LIST, f"n0000/000.JPEG n0000\nn0001/001.JPEG n0001\nn0002/001.JPEG n0002\n{line}\n")


FOLDERS = [
    *table(
        PHOTOS,
        LIST,
        ("a way out", listed("../../secret.JPEG n0000"), "train.txt:4 | leads out of | write a path below"),
        ("a way out within", listed("n0000/../../../x.png n0000"), "train.txt:4 | leads out of"),
        ("the whole disk", listed("/etc/passwd n0000"), "train.txt:4 | '/etc/passwd' leads out of"),
        ("no class", listed("n0000/001.JPEG"), "train.txt:4 | must be a path and a class"),
        ("not UTF-8", text(LIST, b"\xff\xe9 0\n"), "not UTF-8 | convert it"),
    ),
    *table(
        PHOTOS,
        "photos",
        ("a listed image is missing", listed("n0000/999.JPEG n0000"), "999.JPEG | No such file | remove it"),
        ("an image of nothing", link(IMAGE, "/nowhere.JPEG"), f"{IMAGE}: the link leads nowhere | remove it"),
        ("a class of nothing", link("photos/train/n0009", "/nowhere"), "n0009: the link leads nowhere"),
        ("an image in a circle", link(IMAGE, "002.JPEG"), f"{IMAGE}: the link leads nowhere"),
        ("an image cut short", cut(IMAGE), f"{IMAGE} | truncated | replace it or remove it"),
        ("an empty image", text(IMAGE, ""), f"{IMAGE} | it is empty | replace it or remove it"),
        ("a text for an image", text(IMAGE, "hello"), f"{IMAGE} | no image format | replace it or remove it"),
        ("no images", lambda: Path("photos/train/n0009").mkdir(), "n0009 has no images | remove the folder"),
        ("no such class", lambda: shutil.rmtree("photos/val/n0001"), "n0001 is in train but not in val"),
    ),
    *table(
        PHOTOS.replace("=32", "=null"), "e.g. data.image_size=224", ("no size", nothing, "image_size=null")
    ),
    *table(PHOTOS.replace("folder", "net"), "replace or remove", ("cut, to be packed", cut(IMAGE), IMAGE)),
]

FIRST = "conv1.weight"
WEIGHTS, CHECKPOINT = f"{DENSE.folder}/model.safetensors", f"{PRETRAIN.folder}/checkpoints/epoch-1.pt"
MASKS, HISTORY, SUMMARY = (
    f"{SPARSE.folder}/{name}" for name in ("masks.safetensors", "history.csv", "summary.json")
)
BRANCHES, STUDY = (f"{PLASTICITY.folder}/{name}" for name in ("branches.csv", "summary.json"))
AGAIN = f"run the sparse stage: dvc repro {SPARSE.dvc_stage}"


@cache
def vgg() -> dict[str, torch.Tensor]:
    return build("vgg19", num_classes=10).state_dict()


RUNS = [
    *table(
        "train reinit",
        f"{MASKS} | {AGAIN}",
        ("masks: missing", gone(MASKS), "is missing"),
        ("masks: empty", text(MASKS, ""), "cannot be read"),
        ("masks: cut", cut(MASKS), "cannot be read"),
        ("masks: a pickle", text(MASKS, b"\x80\x04cposix\nmkdir\n"), "cannot be read"),
        (
            "masks: of vgg19",
            change(MASKS, lambda _: {n: w > 0 for n, w in vgg().items()}),
            "there is none for",
        ),
        ("masks: one is missing", lacks(MASKS, FIRST), f"there is none for {FIRST}"),
        ("masks: another shape", change(MASKS, lambda m: m | {FIRST: m[FIRST][:8]}), "(8, 3, 3, 3)"),
        ("masks: no bool", change(MASKS, lambda m: m | {FIRST: m[FIRST].float()}), "torch.float32"),
    ),
    *table(
        "train after",
        f"{WEIGHTS} | dvc repro {DENSE.dvc_stage}",
        ("weights: cut", cut(WEIGHTS), "cannot be read"),
        ("weights: of vgg19", change(WEIGHTS, lambda _: vgg()), "is not of this summary's network"),
        ("weights: rounded", change(WEIGHTS, lambda w: w | {FIRST: w[FIRST].half()}), f"{FIRST} differs"),
    ),
    *table(
        "plasticity",
        f"dvc repro {PRETRAIN.dvc_stage}",
        ("checkpoint: missing", gone(CHECKPOINT), f"{CHECKPOINT} is missing"),
        ("checkpoint: empty", text(CHECKPOINT, ""), f"{CHECKPOINT} is damaged"),
        ("checkpoint: cut", cut(CHECKPOINT), f"{CHECKPOINT} is damaged"),
        ("checkpoint: a byte", flip(CHECKPOINT), f"{CHECKPOINT} is damaged | another checksum"),
        ("checkpoint: a list", change(CHECKPOINT, lambda _: [1]), f"{CHECKPOINT} | holds a list"),
        ("checkpoint: no model", lacks(CHECKPOINT, "model"), f"{CHECKPOINT} has no model"),
        ("checkpoint: a call", has(CHECKPOINT, x=Call()), f"{CHECKPOINT} | asks for posix.mkdir"),
        (
            "checkpoint: of vgg19",
            change(CHECKPOINT, lambda s: s | {"model": vgg()}),
            f"{CHECKPOINT} is not of this summary's network",
        ),
        ("metrics: no accuracy", text(f"{PRETRAIN.folder}/metrics.json", "{}"), "has no test_accuracy_last"),
    ),
    *table(
        "report",
        f"{SUMMARY} | {AGAIN}",
        ("summary: empty", text(SUMMARY, ""), "is not valid JSON"),
        ("summary: cut", cut(SUMMARY), "is not valid JSON"),
        ("summary: not UTF-8", text(SUMMARY, b'{"name": "\xff"}'), "is not valid JSON"),
        ("summary: a list", text(SUMMARY, "[]"), "is not valid JSON"),
        ("summary: no accuracy", lacks(SUMMARY, "accuracy"), "has no accuracy"),
        ("summary: no FLOPs", lacks(SUMMARY, "flops", "training"), "has no flops.training"),
        ("summary: words", has(SUMMARY, sparsity="much"), "a bad sparsity"),
        ("summary: a number", has(SUMMARY, tracking=3), "a bad tracking"),
    ),
    *table(
        "report",
        f"{HISTORY} | {AGAIN}",
        ("history: missing", gone(HISTORY), "is missing"),
        ("history: empty", text(HISTORY, ""), "is empty or no CSV"),
        ("history: a head alone", text(HISTORY, "epoch,test_accuracy\n"), "lacks values of epoch"),
        ("history: binary", text(HISTORY, b"\xff\xfe\0\1\n"), "is empty or no CSV"),
        ("history: no accuracy", swap(HISTORY, "test_accuracy", "accuracy"), "lacks values of test_accuracy"),
        ("history: cut within a row", swap(HISTORY, "\n2,", "\n2\n3,"), "lacks values"),
        ("history: words", swap(HISTORY, "0.75", "good"), "lacks values of test_accuracy"),
    ),
    *table(
        "report",
        f"{PLASTICITY.folder} | dvc repro {PLASTICITY.dvc_stage}",
        ("study: no epochs", lacks(STUDY, "epochs"), "has no epochs"),
        ("study: no branches", text(BRANCHES, ""), "branches.csv is empty"),
        ("study: no rates", text(BRANCHES, "epoch\n1\n"), "lacks values of rate"),
    ),
    *table(
        "report",
        "move what is there",
        ("report: a file in its way", text("reports", ""), "reports cannot be a folder"),
    ),
    *table(
        "report", "run: dvc repro", ("no runs", lambda: shutil.rmtree("runs"), "runs holds no finished run")
    ),
    *table(
        "code", "move what is there", ("code: a file in its way", text("code", ""), "code cannot be a folder")
    ),
    *table(
        f"budgets run={SPARSE.folder}",
        AGAIN,
        ("budgets: another version", lacks(SUMMARY, "num_classes"), f"{SUMMARY} has no num_classes"),
    ),
    *table(
        f"export run={SPARSE.folder}",
        AGAIN,
        (
            "export: of vgg19",
            change(f"{SPARSE.folder}/model.safetensors", lambda _: vgg()),
            "model | not of this summary's network",
        ),
        (
            "export: masks of vgg19",
            change(MASKS, lambda _: {n: w > 0 for n, w in vgg().items()}),
            "there is none for",
        ),
        ("export: no summary", text(SUMMARY, "{"), f"{SUMMARY} is not valid JSON"),
    ),
    *table(
        f"export run={SPARSE.folder}",
        "give the same run's masks",
        (
            "export: other masks",
            change(MASKS, lambda m: {n: ~v for n, v in m.items()}),
            f"run={SPARSE.folder}",
        ),
    ),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, digits: Path) -> Path:
    """A small project with prepared data and finished runs."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        write_project(digits)
    return home


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits in CIFAR-10's layout, and a folder of photographs."""
    folder = tmp_path_factory.mktemp("images")
    write_cifar10(folder / "raw")
    write_photographs(folder / "photos")
    return folder


@pytest.fixture
def project(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project as the working folder."""
    shutil.copytree(home, project := tmp_path / "project")
    monkeypatch.chdir(project)
    for name in ("DVC_ROOT", "DVC_STAGE", "DVC_EXP_NAME", "MLFLOW_TRACKING_URI", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    return project


MODULES = {"params": "params.__main__", "launch": "launch.command", "report": "report.page"}
"""Where a command's function lies, if not in the module of its name."""


def run(command: str) -> None:
    name, *arguments = command.split()
    module = importlib.import_module(f"pipeline.{MODULES.get(name, name)}")
    run_main(module.main, module.__doc__, arguments)


def contents(folder: Path) -> dict[str, tuple[int, ...]]:
    """Inode, size and time of all files, but for those of .checkpoints, where an unfinished run has a folder."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if not path.is_dir()}
    found = {name: path.lstat() for name, path in files.items() if not name.startswith(".checkpoints/")}
    return {name: (file.st_ino, file.st_size, file.st_mtime_ns) for name, file in found.items()}


def check(case: Case, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command ends in one line with the words of the case, and leaves every file as it was."""
    case.spoil()
    before = contents(project)
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run(case.command)
    printed = capsys.readouterr().err
    assert ended.value.code == case.code, printed
    assert printed.startswith("error: ") and printed.count("\n") == 1, printed
    for word in case.words:
        assert word in printed, printed
    assert contents(project) == before
    assert not Path("executed").exists()


def each(cases: list[Case]) -> Any:
    return pytest.mark.parametrize("case", cases, ids=[case.id for case in cases])


@each(PARAMS)
def test_params_yaml(case, project, capsys):
    check(case, project, capsys)


@each(COMMANDS)
def test_command_lines(case, project, capsys):
    check(case, project, capsys)


@each(PREPARED)
def test_prepared_data(case, project, capsys):
    check(case, project, capsys)


@each(ARCHIVES)
def test_archives(case, project, images, capsys):
    shutil.copytree(images / "raw", "raw")
    check(case, project, capsys)


@each(FOLDERS)
def test_folders_of_images(case, project, images, capsys):
    shutil.copytree(images / "photos", "photos")
    check(case, project, capsys)


@each(RUNS)
def test_finished_runs(case, project, capsys):
    check(case, project, capsys)


def test_the_project_itself_is_whole(project):
    """Else the cases above would end for another reason."""
    run("report")
    assert Path("reports/report.html").exists()
