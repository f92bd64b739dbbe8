"""benchmarks.paper: which runs come first, and how many at once."""

import json

import pytest

from benchmarks import paper
from granet.types import UserError
from pipeline.params.files import compose
from pipeline.training.cell import cells
from tests.helpers.project import Project
from tests.helpers.waiting import until

PARAMS = compose(["recipe=claims"])


def test_what_decides_most_claims_comes_first_and_seeds_of_a_pair_together():
    """At 98 % each pair is a place of two claims, at 95 % of one."""
    order = [*paper.order(PARAMS)]
    assert order[:6] == [
        f"sparse@cifar10-vgg19-{m}-0.98-{seed}" for seed in range(3) for m in ("gmp", "granet")
    ]
    assert {name.rsplit("-", 2)[1] for name in order[:12]} == {"0.98"}
    assert order[24:] == [f"dense@cifar10-vgg19-{seed}" for seed in range(3)]
    assert sorted(order) == sorted(cell.dvc_stage for cell in cells(PARAMS)) and len(order) == 27


def test_another_recipe_takes_the_place_of_its_own(monkeypatch):
    class WrittenError(Exception):
        pass

    def write(arguments):
        raise WrittenError(*arguments)

    monkeypatch.setattr(paper, "write_params", write)
    for given, written in (((), ("recipe=claims",)), (("recipe=evidence",), ("recipe=evidence",))):
        with pytest.raises(WrittenError) as raised:
            paper.main([*given, "train.device=cpu"])
        assert raised.value.args == (*written, "train.device=cpu")


def test_each_recipe_has_its_own_order():
    """At 98 % both pairs of the evidence are places of two claims."""
    assert [*paper.order(compose(["recipe=evidence"]))][:12] == [
        f"sparse@cifar10-resnet20-{method}-0.98-{seed}"
        for pair in (("rigl", "set"), ("gmp", "granet"))
        for seed in range(3)
        for method in pair
    ]


def test_runs_that_share_a_side_are_told_once():
    """RigL and GraNet on CIFAR-100 are sides of several comparisons."""
    params = compose(["recipe=cifar"])
    assert sorted(paper.order(params)) == sorted(cell.dvc_stage for cell in cells(params))


def test_what_runs_need_goes_before_them_and_the_plan_stays():
    names = ["sparse@b", "dense@a"]
    needs = {"code": frozenset(), "dense@a": frozenset({"prepare@x"}), "plasticity@c": frozenset()}
    needs |= {"prepare@x": frozenset({"code"}), "sparse@b": frozenset({"prepare@x"})}
    ordered = paper.in_order(needs, names)
    assert ordered == needs
    assert [*ordered] == ["code", "prepare@x", "sparse@b", "dense@a", "plasticity@c"]


@pytest.mark.parametrize(
    ("rates", "runs"), [({1: 100.0, 2: 180.0, 4: 240.0, 8: 245.0}, 4), ({1: 100.0, 2: 90.0}, 1), ({}, None)]
)
def test_as_many_runs_at_once_as_pay(tmp_path, rates, runs):
    rows = {f"vgg19 x {n}": {"runs": n, "images_per_s": rate} for n, rate in rates.items()}
    (tmp_path / "gpu.json").write_text(json.dumps({"rows": rows | {"peak": {"flops_per_s": 1.0}}}))
    assert paper.pays(tmp_path / "gpu.json") == runs
    assert paper.pays(tmp_path / "missing.json") is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sparse"], "takes no targets"),
        (["--minutes", "-1"], "must be above 0"),
        ([], "there is no GPU here"),
    ],
)
def test_a_bad_command_line_is_refused(monkeypatch, arguments, message):
    monkeypatch.setattr(paper, "visible_devices", list)
    with pytest.raises(UserError, match=message):
        paper.main(arguments)


@pytest.mark.soak
def test_runs_that_were_ended_go_on(tmp_path):
    """The digits, two methods: the time is over at once, then SIGTERM ends runs that train, then all is done."""
    project = Project(tmp_path)
    command = "-j", "2", "train.device=cpu", "grid.datasets=[digits]", "grid.models=[resnet20]"
    command += "grid.methods=[gmp,granet]", "grid.sparsities=[0.98]", "grid.seeds=[0]", "train.epochs=12"
    command += "data.train_size=120", "data.val_size=40", "data.test_size=80", "train.batch_size=40"
    command += "tracking.offline=true", "gmp.update_interval=1it", "granet.update_interval=1it"
    first = project.python("benchmarks.paper", "--minutes", "0.34", *command)
    assert "the time is over; run the same command again to go on" in first.stdout
    second = project.start("python", "-m", "benchmarks.paper", *command)
    until(lambda: [*project.folder.glob(".checkpoints/*/last.pt")], seconds=120)
    second.terminate()
    second.communicate(timeout=60)
    assert second.returncode == 130
    third = project.python("benchmarks.paper", *command)
    assert "params.yaml: no change" in third.stdout
    assert "goes on after epoch" in "".join(log.read_text() for log in project.folder.glob("logs/*@digits-*"))
    assert len([*project.folder.glob("runs/*/*/metrics.json")]) == 3
    assert (project.folder / "reports/report.md").exists()
