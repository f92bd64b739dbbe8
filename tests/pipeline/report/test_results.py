"""Runs into frames: what counts, what is left out, and the numbers over seeds."""

from dataclasses import replace

import pytest

from granet.types import UserError
from pipeline.report.results import Stat, curves, headline, layers, read
from pipeline.training.cell import Cell, Group, cells
from tests.helpers.runs import params_of, write_run

GRANET = Cell("sparse", "digits", "resnet20", 0, "granet", 0.98)


@pytest.fixture
def params():
    return params_of(methods=["gmp", "granet"], after=["sis"], seeds=[0, 1, 2])


def test_the_grid_has_a_cell_per_run(params):
    stages = [cell.stage for cell in cells(params)]
    # 3 seeds: dense; x 2 methods; x 1 after training; x 2 reinitialised; x 1 retrained x 2 rewinds
    counts = {"dense": 3, "sparse": 6, "after": 3, "reinit": 6, "retrain": 6}
    assert {stage: stages.count(stage) for stage in counts} == counts
    assert {cell.method for cell in cells(params) if cell.stage == "retrain"} == {"granet"}
    assert {cell.method for cell in cells(params) if cell.stage == "after"} == {"sis"}


def test_lists_of_the_grid_that_are_empty_have_no_cells():
    params = params_of(methods=[], after=[], reinit=[], retrain=[], rewinds=[])
    assert {cell.stage for cell in cells(params)} == {"dense"}


def test_the_runs_of_a_mean_share_their_group():
    assert replace(GRANET, seed=7).group.name == GRANET.group.name == "sparse-digits-resnet20-granet-0.98"
    rewound = replace(GRANET, stage="retrain", rewind="lth")
    assert rewound.group.name == "retrain-digits-resnet20-granet-0.98-lth"


def test_mean_and_sample_std_over_seeds(params, tmp_path):
    for seed, accuracy in enumerate((0.90, 0.92, 0.94)):
        write_run(tmp_path, params, replace(GRANET, seed=seed), [accuracy])
    stat = read(params, tmp_path).stat(GRANET.group, "last")
    assert stat == Stat(pytest.approx(0.92), pytest.approx(0.02), 3)


def test_one_seed_has_no_std(params, tmp_path):
    write_run(tmp_path, params, GRANET, [0.9])
    results = read(params, tmp_path)
    assert results.stat(GRANET.group, "last") == Stat(0.9, None, 1)
    assert results.stat(GRANET.group, "best_val") is None  # nothing was held out
    assert results.stat(Group("dense", "digits", "resnet20"), "last") is None  # no such run


def test_only_runs_of_the_grid_count(params, tmp_path):
    write_run(tmp_path, params, GRANET, [0.9])
    write_run(tmp_path, params, replace(GRANET, seed=3), [0.1])
    write_run(tmp_path, params, replace(GRANET, sparsity=0.5), [0.1])
    results = read(params, tmp_path)
    assert results.values(GRANET.group, "last") == [0.9]
    assert len(results.runs) == 1
    assert len(results.missing) == 23


def test_a_run_with_other_parameters_is_left_out_and_named(params, tmp_path):
    write_run(tmp_path, params, GRANET, [0.9])
    longer = replace(params, train=replace(params.train, epochs=99))
    write_run(tmp_path, longer, replace(GRANET, seed=1), [0.95])
    warmer = replace(params, methods=params.methods | {"granet": params.methods["granet"] | {"si": 0.5}})
    write_run(tmp_path, warmer, replace(GRANET, seed=2), [0.95])
    results = read(params, tmp_path)
    assert results.values(GRANET.group, "last") == [0.9]
    assert [cell.seed for cell in results.outdated] == [1, 2]


def test_where_a_run_was_made_does_not_matter(params, tmp_path):
    elsewhere = replace(
        params,
        train=replace(params.train, device="cuda"),
        data=replace(params.data, root="/data", loader="resident", num_workers=4),
    )
    write_run(tmp_path, elsewhere, GRANET, [0.9])
    assert len(read(params, tmp_path).runs) == 1


def test_no_runs_is_one_line_with_the_fix(params, tmp_path):
    with pytest.raises(UserError, match=r"holds no finished run .* params.yaml; run: dvc repro$"):
        read(params, tmp_path)


def test_only_outdated_runs_is_one_line_with_the_fix(params, tmp_path):
    longer = replace(params, train=replace(params.train, epochs=99))
    write_run(tmp_path, longer, GRANET, [0.9])
    with pytest.raises(UserError, match=r"made with its parameters; run: dvc repro$"):
        read(params, tmp_path)


def test_a_broken_summary_is_named(params, tmp_path):
    folder = write_run(tmp_path, params, GRANET, [0.9])
    (folder / "summary.json").write_text("{")
    with pytest.raises(
        UserError,
        match=r"granet-0.98-0/summary.json is not valid JSON; delete .*, then train this run again$",
    ):
        read(params, tmp_path)


def test_curves_are_means_by_epoch(params, tmp_path):
    write_run(tmp_path, params, GRANET, [0.2, 0.4], inference_ratio=0.1)
    write_run(tmp_path, params, replace(GRANET, seed=1), [0.4, 0.6], inference_ratio=0.3)
    frame = curves(read(params, tmp_path).runs).loc[GRANET.group.name]
    assert frame[("test_accuracy", "mean")].tolist() == pytest.approx([0.3, 0.5])
    assert frame[("sparsity", "mean")].tolist() == pytest.approx([0.49, 0.98])
    # halfway from dense (1) to 0.1 and 0.3, then their mean
    assert frame[("inference_ratio", "mean")].tolist() == pytest.approx([0.6, 0.2])


def test_layers_are_means_in_the_order_of_the_model(params, tmp_path):
    write_run(tmp_path, params, GRANET, [0.9], layers={"z.weight": 0.5, "a.weight": 0.9})
    write_run(tmp_path, params, replace(GRANET, seed=1), [0.9], layers={"z.weight": 0.7, "a.weight": 0.9})
    write_run(tmp_path, params, Cell("dense", "digits", "resnet20", 0), [0.9])
    frame = layers(read(params, tmp_path).runs)
    assert list(frame.columns) == ["z.weight", "a.weight"]
    assert frame.loc[GRANET.group.name].tolist() == pytest.approx([0.6, 0.9])
    assert list(frame.index) == [GRANET.group.name]


def test_headline_is_numbers_by_method(params, tmp_path):
    write_run(tmp_path, params, Cell("dense", "digits", "resnet20", 0), [0.97])
    for seed, accuracy in enumerate((0.90, 0.92)):
        write_run(tmp_path, params, replace(GRANET, seed=seed), [accuracy])
    write_run(tmp_path, params, replace(GRANET, stage="reinit"), [0.8])
    write_run(tmp_path, params, replace(GRANET, stage="retrain", rewind="lrr"), [0.85])
    write_run(tmp_path, params, replace(GRANET, stage="after", method="sis"), [0.7])
    assert headline(read(params, tmp_path)) == {
        "digits-resnet20": {
            "dense": 0.97,
            "granet-0.98": 0.91,
            "sis-0.98": 0.7,
            "granet-0.98-reinit": 0.8,
            "granet-0.98-lrr": 0.85,
        }
    }
