"""A machine that refuses: one line, exit code 1, nothing taken for whole, and the same command goes on afterwards."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from granet.data import open_data
from tests.helpers.image_folder import write_photographs
from tests.helpers.project import ROOT
from tests.helpers.small_project import write_project

ALL = "data.root=photos data.train_size=null data.val_size=0 data.test_size=null data.image_size=32"
PARAMS, PREPARE, TRAIN = "params train.lr=0.2", "prepare dataset=digits", "train dense train.epochs=1"
PACK, SQUARES = f"prepare dataset=imagenet {ALL}", f"prepare dataset=imagefolder {ALL}"

Machine = Callable[[Path, str, str], tuple[int, str]]
"""What runs a command in a folder under a limit: its exit code and standard error."""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """One process that has imported everything: tests/helpers/limited.py."""
    command = [sys.executable, "-m", "tests.helpers.limited"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def run(folder: Path, command: str, limit: str) -> tuple[int, str]:
            case = {"folder": str(folder), "command": command, "limit": limit}
            print(json.dumps(case), file=process.stdin, flush=True)
            answer = json.loads(process.stdout.readline())
            return answer["code"], answer["error"]

        yield run
        process.stdin.close()


@pytest.fixture(scope="module")
def home(digits: Path) -> Iterator[Path]:
    """A small project, with photographs and an old report, where everybody may look."""
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        Path(name).chmod(0o755)
        (home := Path(name, "home")).mkdir()
        patch.chdir(home)
        write_project(digits)
        write_photographs(Path("photos"))
        Path("reports/figures").mkdir(parents=True)
        Path("reports/report.html").write_text("the one before")
        Path("reports/figures/old.png").write_text("its figure")
        yield home


@pytest.fixture
def project(home: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A copy of it; in the end it can be written to again."""
    shutil.copytree(home, folder := home.with_name("project"))
    yield folder
    set_mode(folder, 0o755)
    shutil.rmtree(folder)


def set_mode(folder: Path, mode: int) -> None:
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(mode)


def files(folder: Path) -> dict[str, bytes]:
    """All files, but for locks and what is kept of unfinished work."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith(".checkpoints/")}


@pytest.mark.parametrize(
    ("command", "limit", "words"),
    [
        (PARAMS, "bytes 100", "'params.yaml'; make room"),
        (PREPARE, "bytes 1000000", "digits/train.beton'; make room"),
        (PACK, "bytes 30000", ".npz'; make room"),
        (PACK, "bytes 1000000", "imagenet/train.beton'; make room"),
        (SQUARES, "bytes 30000", "'; make room"),
        (TRAIN, "bytes 30000", "last.pt'; make room"),
        ("report", "bytes 30000", ".png'; make room"),
        (PREPARE, "handles 0", "'params.yaml'; ulimit -n"),
        (PREPARE, "handles 2", "; ulimit -n"),
        (PACK, "handles 2", "; ulimit -n"),
        (SQUARES, "handles 3", "; ulimit -n"),
        (TRAIN, "handles 4", "; ulimit -n"),
        ("report", "handles 3", "; ulimit -n"),
        (PARAMS, "nobody", "'params.yaml'; make it writable and readable"),
        (PREPARE, "nobody", "; make it writable and readable"),
        (TRAIN, "nobody", "'scratch'; make it writable and readable"),
        ("report", "nobody", "; make it writable and readable"),
    ],
)
def test_a_machine_that_refuses(
    command: str, limit: str, words: str, machine: Machine, project: Path
) -> None:
    before = files(project)
    if limit == "nobody":  # root may write everywhere, so that it becomes somebody else
        set_mode(project, 0o555)
    code, error = machine(project, command, limit)
    assert code == 1, error
    assert error.startswith("error: [Errno ") and error.count("\n") == 1 and words in error, error
    left = files(project)
    assert not [name for name in left if name.endswith((".tmp", "summary.json")) and name not in before]
    for name in ("params.yaml", "reports/report.html", "reports/figures/old.png"):
        assert left[name] == before[name]
    for index in project.glob("**/prepared/*/index.json"):  # where there is one, its files are whole
        open_data(index.parent, loader="resident", batch_size=32, seed=0, device="cpu")
    if limit.startswith("bytes"):
        assert machine(project, command, "") == (0, "")


def test_what_is_prepared_when_the_disk_is_full_is_prepared_anew(machine: Machine, project: Path) -> None:
    """And until then no training takes the old files, or half of the new ones, for whole."""
    machine(project, PREPARE, "bytes 1000000")
    code, error = machine(project, TRAIN, "")
    assert code == 2
    assert "digits/index.json is missing; prepare the data again" in error
