"""A chain: what its runs are called, what may be one, and that no run is trained twice."""

import csv
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from granet import METHODS, UserError
from pipeline import train
from pipeline.params.__main__ import main as write_params
from pipeline.params.files import compose, load
from pipeline.report.results import read
from pipeline.training.cell import cells
from pipeline.training.folder import RunFolder

GRID = ("recipe=quick", "grid.seeds=[0]", "grid.methods=[]", "grid.reinit=[]", "grid.retrain=[]")
TINY = ("train.epochs=1", "train.batch_size=100", "train.kernels=dense", "train.precision=fp32")
CHAIN = Path("runs/chain/digits-resnet20-imp-0")


def test_runs_of_a_chain_rise_through_the_grids_sparsities_in_one_folder():
    params = compose([*GRID, "grid.chains=[imp]", "grid.sparsities=[0.98, 0.9]"])
    first, second = (cell for cell in cells(params) if cell.stage == "chain")
    assert (first.name, first.folder, first.begun) == ("digits-resnet20-imp-0-0.9", CHAIN / "0.9", None)
    assert (second.name, second.folder, second.begun) == ("digits-resnet20-imp-0-0.98", CHAIN / "0.98", 0.9)
    assert first.source is not None and first.source.folder == Path("runs/dense/digits-resnet20-0")
    assert second.source is not None and second.source.folder == CHAIN / "0.9"
    assert second.source_folder(Path("out/0.98")) == Path("out/0.9")
    assert second.group.name == "chain-digits-resnet20-imp-0.98"
    assert RunFolder(CHAIN / "0.9").remedy == "run the chain stage: dvc repro chain@digits-resnet20-imp-0"


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        (["grid.chains=[one_shot]"], "'one_shot' cannot be a chain"),
        (["grid.chains=[granet]"], "'granet' cannot be a chain"),
        (["grid.chains=[imp_late]"], "'imp_late' cannot be a chain"),
        (["grid.chains=[imp]", "grid.after=[imp]"], "grid.chains='imp' is in grid.after too"),
        (["grid.chains=[impp]"], "method='impp' is unknown; did you mean imp?"),
    ],
)
def test_what_cannot_be_a_chain_is_refused(lists, message):
    with pytest.raises(UserError, match=message):
        compose([*GRID, *lists])


def test_the_rounds_of_a_chain_are_fewer_than_those_of_its_runs_alone():
    alone = [METHODS["imp"](sf=sparsity).rounds for sparsity in (0.9, 0.95, 0.98)]
    chained = [METHODS["imp"](sf=s, begun=b).rounds for b, s in ((0.0, 0.9), (0.9, 0.95), (0.95, 0.98))]
    assert (alone, chained) == ([11, 14, 18], [11, 4, 5])
    with pytest.raises(UserError, match=r"begun=0\.9 must be below sf=0\.8"):
        METHODS["imp"](sf=0.8, begun=0.9)


def flops(folder: Path) -> list[int]:
    """Training FLOPs by epoch."""
    with (folder / "history.csv").open() as file:
        return [int(row["train_flops"]) for row in csv.DictReader(file)]


def test_a_run_that_was_made_for_one_sparsity_is_not_trained_again_for_another(
    tmp_path, digits, monkeypatch, capsys
):
    """To 0.6 in a round, and on to 0.8 in another, which starts from what the first has trained."""
    monkeypatch.chdir(tmp_path)
    for name in ("DVC_ROOT", "DVC_STAGE", "MLFLOW_TRACKING_URI", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    shutil.copytree(digits, tmp_path / "data/prepared/digits")
    grid = (*GRID, *TINY, "tracking.offline=true", "grid.chains=[imp]", "imp.prune_fraction=0.6")
    write_params([*grid, "grid.sparsities=[0.6]"])
    train.main(["dense"])
    train.main(["chain"])
    first = (CHAIN / "0.6/summary.json").read_bytes()
    write_params([*grid, "grid.sparsities=[0.8, 0.6]"])
    capsys.readouterr()
    train.main(["chain"])
    assert (CHAIN / "0.6/summary.json").read_bytes() == first
    assert "digits-resnet20-imp-0-0.6: is there already" in capsys.readouterr().out

    masks, before = (load_file(CHAIN / s / "masks.safetensors") for s in ("0.8", "0.6"))
    weights = load_file(CHAIN / "0.6/model.safetensors")
    kept = min(float(weights[name][mask].abs().min()) for name, mask in masks.items() if mask.any())
    gone = max(float(weights[name][was & ~masks[name]].abs().max()) for name, was in before.items())
    assert 0 < gone <= kept
    summary, source = RunFolder(CHAIN / "0.8").summary, RunFolder(CHAIN / "0.6").summary
    assert (summary.epochs, summary.sparsity) == (1, pytest.approx(0.8, abs=1e-5))
    assert source.flops["training"] < flops(CHAIN / "0.8")[0] == summary.flops["training"]
    results = read(load())
    assert results.runs["sparsity"].dropna().tolist() == [0.6, 0.8]

    write_params([*grid, "grid.sparsities=[0.8, 0.7]"])
    left = read(load())  # 0.8 of the grid would go on from 0.7
    assert [cell.name for cell in left.outdated] == ["digits-resnet20-imp-0-0.8"]
    train.main(["chain", "sparsity=0.7"])
    assert {path.name for path in CHAIN.iterdir()} == {"0.6", "0.7", "0.8"}
