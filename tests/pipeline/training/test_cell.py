"""pipeline.training.cell: names, groups, sources and the code of cells; what a command line may name."""

import pytest

from granet.types import UserError
from pipeline.training.cell import Cell, Group, cell_of, cells
from pipeline.training.stages import STAGES
from tests.helpers.runs import params_of

GRANET = Cell("sparse", "digits", "resnet20", 3, method="granet", sparsity=0.98)


def test_names_are_the_keys_of_the_stage_in_order():
    assert GRANET.name == "digits-resnet20-granet-0.98-3"
    assert GRANET.dvc_stage == "sparse@digits-resnet20-granet-0.98-3"
    assert str(GRANET.folder) == "runs/sparse/digits-resnet20-granet-0.98-3"
    assert Cell("dense", "digits", "resnet20", 0).name == "digits-resnet20-0"
    assert (
        Cell("pretrain", "digits", "resnet20", 0, network="filter-0.5").name == "digits-resnet20-filter-0.5-0"
    )


def test_a_group_is_a_cell_without_its_seed():
    assert GRANET.group == Group("sparse", "digits", "resnet20", method="granet", sparsity=0.98)
    assert GRANET.group.name == "sparse-digits-resnet20-granet-0.98"


def test_a_source_is_the_same_cell_of_the_stage_before():
    retrained = Cell("retrain", "digits", "resnet20", 3, method="granet", sparsity=0.98, rewind="lth")
    assert retrained.source is not None
    assert retrained.source.folder == GRANET.folder
    assert GRANET.source is None


@pytest.mark.parametrize(
    ("stage", "code"),
    [("dense", "dense"), ("sparse", "imp"), ("after", "imp"), ("reinit", "dense"), ("retrain", "dense")],
)
def test_the_code_of_a_run_is_that_of_the_section_that_trains_it(stage, code):
    method = {} if stage == "dense" else {"method": "imp", "sparsity": 0.9}
    assert Cell(stage, "digits", "resnet20", 0, **method).code == code
    assert Cell("pretrain", "digits", "resnet20", 0, network="element-0.5").code == "plasticity"


def test_every_row_names_keys_of_a_cell_and_a_source_that_has_the_same_keys():
    for name, row in STAGES.items():
        assert set(row.keys) <= set(Cell.__annotations__)
        if row.source is not None:
            assert set(STAGES[row.source].keys) <= set(row.keys), name


def test_the_cells_of_a_grid_come_stage_by_stage_and_the_seeds_of_a_group_together():
    params = params_of(seeds=[0, 1], methods=["gmp"], reinit=["gmp"], retrain=[], sparsities=[0.9])
    names = [f"{cell.stage} {cell.group.name} {cell.seed}" for cell in cells(params)]
    assert names == [
        f"{stage} {group} {seed}"
        for stage, group in (
            ("dense", "dense-digits-resnet20"),
            ("sparse", "sparse-digits-resnet20-gmp-0.9"),
            ("reinit", "reinit-digits-resnet20-gmp-0.9"),
        )
        for seed in (0, 1)
    ]


def test_keys_left_out_are_the_first_of_the_grid():
    params = params_of(seeds=[4, 5])
    assert cell_of("sparse", {"sparsity": "0.5", "method": "granet"}, params) == Cell(
        "sparse", "digits", "resnet20", 4, method="granet", sparsity=0.5
    )


@pytest.mark.parametrize(
    ("stage", "values", "message"),
    [
        ("sparse", {"seed": "one"}, "seed='one' is not valid: it must be of type int"),
        ("sparse", {"method": "magic"}, "method='magic' is no section of params.yaml"),
        ("after", {}, "the grid of params.yaml has no method for the after stage; add method=..."),
        ("pretrain", {}, "the grid of params.yaml has no network for the pretrain stage; add network=..."),
    ],
)
def test_a_command_line_that_names_no_cell_is_one_line(stage, values, message):
    with pytest.raises(UserError, match=f"^{message}"):
        cell_of(stage, values, params_of())
