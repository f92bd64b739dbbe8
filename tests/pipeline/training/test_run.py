"""pipeline.training.run: whatever moment a run is cut off at while it finishes, the same command ends it."""

import hashlib
import shutil
from pathlib import Path
from threading import Timer

import pytest
from filelock import FileLock
from safetensors.torch import save

from granet.training import loop
from granet.types import UserError
from pipeline import checkpoints, train
from pipeline.params.__main__ import main as write_params
from pipeline.params.files import compose, read_yaml
from pipeline.params.unchanged import deciding
from pipeline.tracking.journal import is_cleared
from pipeline.training import run
from pipeline.training.checkpoints import store_of
from pipeline.training.folder import RunFolder
from pipeline.training.run import declared
from pipeline.training.stages import STAGES
from tests.helpers.project import ROOT, SMALL

STUDY = ("grid.pretrain=[element-0.5]", "plasticity.epochs=[1,2]", "train.epochs=3", "train.precision=fp32")
FOLDER = Path("runs/pretrain/digits-resnet20-element-0.5-0")


@pytest.fixture
def project(tmp_path: Path, digits: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with parameters and prepared digits, in which stages run."""
    monkeypatch.chdir(tmp_path)
    for name in ("DVC_ROOT", "DVC_STAGE", "MLFLOW_TRACKING_URI", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    shutil.copytree(digits, tmp_path / "data/prepared/digits")
    write_params([*SMALL, *STUDY])
    return tmp_path


def stores() -> list[Path]:
    """The folders that hold more than a journal."""
    return [path for path in Path(".checkpoints").iterdir() if path.is_dir() and not is_cleared(path)]


def contents() -> dict[str, bytes]:
    """The files of a run, and of a checkpoint the weights: it knows how long the epoch took."""
    files = {
        name: (FOLDER / name).read_bytes()
        for name in ("model.safetensors", "masks.safetensors", "metrics.json")
    }
    model = RunFolder(FOLDER).checkpoint(1)["model"]
    return files | {"epoch-1": save({name: value.contiguous() for name, value in model.items()})}


@pytest.mark.parametrize("cut_at", ["link_or_copy", "summary_of", "metrics_of"])
def test_a_run_cut_off_while_it_writes_its_results_can_be_started_again(project, monkeypatch, cut_at):
    """Between two checkpoints, before the summary, and after it. DVC deletes the outputs at each start."""
    command = ["pretrain", "network=element-0.5"]
    train.main(command)
    whole = contents()
    shutil.rmtree("runs")
    original, calls = getattr(run, cut_at), []

    def cut(*arguments, **options):
        calls.append(cut_at)
        if cut_at != "link_or_copy" or len(calls) == 2:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(run, cut_at, cut)
        with pytest.raises(KeyboardInterrupt):
            train.main(command)
    shutil.rmtree("runs")
    train.main(command)
    assert contents() == whole
    assert (FOLDER / "checkpoints/epoch-2.pt").exists()
    assert stores() == []


def test_a_finished_run_ends_at_once_until_dvc_has_recorded_it(project, monkeypatch):
    """DVC that is killed after the run and before dvc.lock is written deletes the results, and starts it again."""
    command = ["pretrain", "network=element-0.5"]
    monkeypatch.setenv("DVC_STAGE", f"pretrain@{FOLDER.name}")
    train.main(command)
    whole, (store,) = contents(), stores()
    shutil.rmtree("runs")
    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_epoch", lambda *_: pytest.fail("it trains again"))
        train.main(command)
    assert contents() == whole
    assert (FOLDER / "checkpoints/epoch-2.pt").exists()
    assert stores() == [store]
    md5 = hashlib.md5((FOLDER / "summary.json").read_bytes()).hexdigest()
    Path("dvc.lock").write_text(f"stages:\n  pretrain@x:\n    outs:\n    - md5: {md5}\n")
    train.main(["dense", "train.epochs=1"])
    assert store not in stores()


def test_what_runs_have_left_is_listed_and_deleted(project, monkeypatch, capsys):
    monkeypatch.setenv("DVC_STAGE", "any")
    train.main(["dense"])
    train.main(["dense", "seed=1"])
    capsys.readouterr()
    checkpoints.main([])
    listed = capsys.readouterr().out
    assert listed.count(" finished ") == 2
    assert "dense@digits-resnet20-1" in listed
    assert "2 runs, " in listed
    used = next(path for path in stores() if (path / "stage").read_text().endswith("-0"))
    with FileLock(f"{used}.lock"):
        checkpoints.main(["delete", "dense"])
    said = capsys.readouterr().out
    assert "dense@digits-resnet20-0: is in use, and stays" in said
    assert "dense@digits-resnet20-1: deleted" in said
    assert stores() == [used]
    checkpoints.main(["delete", "all"])
    assert stores() == []
    with pytest.raises(UserError, match="no run of 'dense' has left its state"):
        checkpoints.main(["delete", "dense"])
    with pytest.raises(UserError, match="'remove' is no argument of checkpoints"):
        checkpoints.main(["remove"])


def test_parameters_that_change_while_a_stage_runs_are_not_recorded_with_its_results(project, monkeypatch):
    command = ["pretrain", "network=element-0.5"]
    monkeypatch.setenv("DVC_STAGE", f"pretrain@{FOLDER.name}")
    old = Path("params.yaml").read_text()
    new = old.replace("  lr: 0.1 ", "  lr: 0.05 ")
    indifferent = old.replace("num_workers: 0", "num_workers: 1").replace("rates: [0.2, ", "rates: [0.3, ")
    assert old not in (new, indifferent)
    epoch = loop.train_epoch

    def changed(*arguments):
        Path("params.yaml").write_text(new)
        return epoch(*arguments)

    with (
        monkeypatch.context() as patch,
        pytest.raises(UserError, match=r"train\.lr=0\.05 is new in params\.yaml"),
    ):
        patch.setattr(loop, "train_epoch", changed)
        train.main(command)
    shutil.rmtree("runs")  # as DVC does
    write = run.write

    def changed_since(*arguments):
        Path("params.yaml").write_text(indifferent)
        write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_epoch", lambda *_: pytest.fail("it trains again"))
        patch.setattr(run, "write", changed_since)
        Path("params.yaml").write_text(old)
        train.main(command)
    assert (FOLDER / "summary.json").exists()


def test_what_must_not_change_is_what_dvc_records():
    training = {f"train.{key}" for key in deciding(compose(["recipe=quick"]).train)}
    for stage, about in read_yaml(ROOT / "dvc.yaml")["stages"].items():
        if stage in STAGES and stage != "export":
            wanted = {
                key
                for one in about["params"]
                for key in ([one] if isinstance(one, str) else one["params.yaml"])
            }
            ours = {
                key
                for one in declared(stage, "${item.method}")
                for key in (training if one == "train" else [one])
            }
            assert wanted == ours, stage


def test_a_run_waits_for_who_sends_what_it_has_left(project):
    """Else it would begin anew, in a folder of its own."""
    folder = Path(".checkpoints/key")
    folder.mkdir(parents=True)
    names = f"{folder}.sending.lock", f"{folder}.lock"
    sending, used = (FileLock(name, thread_local=False) for name in names)
    sending.acquire()
    used.acquire()
    Timer(0.5, lambda: (used.release(), sending.release())).start()
    with store_of("key", "dense@x") as store:
        assert store.name == "key"
    with used, store_of("key", "dense@x") as store:  # by another run
        assert store.name != "key"
