"""The paper's tables in its own layout: which ones, which rows and columns, and what stands in each field."""

from dataclasses import replace

import pytest

from pipeline.report.paper.numbers import CIFAR, FURTHER, further, layouts, of_cifar
from pipeline.report.results import read
from pipeline.report.sections.claims import significance
from pipeline.report.tables.printed import ModelRows, table1
from pipeline.training.cell import Cell
from tests.helpers.runs import params_of, write_run

TABLE2, TABLE6, TABLE9 = layouts(CIFAR)
NO = {"after": [], "reinit": [], "retrain": [], "rewinds": []}
DENSE = Cell("dense", "cifar10", "vgg19", 0)
GRANET = Cell("sparse", "cifar10", "vgg19", 0, "granet", 0.95)


@pytest.mark.parametrize(
    ("grid", "tables"),
    [
        ({"methods": ["snip", "granet"]}, ["table2"]),  # Table 6 would hold GraNet alone
        ({"methods": ["granet"]}, ["table2"]),
        ({"methods": ["granet", "granet_2x"]}, ["table6"]),
        ({"methods": ["gmp", "granet", "granet_2x"]}, ["table2", "table6"]),
        ({"methods": ["gmp", "granet"], "retrain": ["granet"], "rewinds": ["lth"]}, ["table2", "table6"]),
        ({"methods": ["granet_uniform"]}, ["table9"]),
        ({"methods": [], "after": ["sis"]}, ["table2"]),
        ({"methods": ["dsr"]}, []),
        ({"methods": []}, []),
    ],
)
def test_tables_that_the_grid_has_rows_of(grid, tables):
    assert [layout.id for layout in of_cifar(params_of(**NO | grid))] == tables


def test_what_no_table_has_stands_further_below():
    params = params_of(
        methods=["dsr", "gmp", "granet"], after=["imp"], reinit=[], retrain=["gmp"], rewinds=["lth"]
    )
    assert further(params) == [("sparse", "dsr", None), ("after", "imp", None), ("retrain", "gmp", "lth")]
    table = ModelRows(read_of(params), FURTHER, "resnet20").table()
    assert [(line.heading, line.label) for line in table.lines] == [
        ("", "ResNet-20 (Dense)"),
        ("Sparse to sparse", "DSR"),
        ("After training", "IMP"),
        ("Retrained", "GMP + LTH"),
    ]


def read_of(params, folder=None, runs=()):
    """Results with these runs, (cell, accuracies by seed), or without any."""
    import pandas as pd

    from pipeline.report.results import Results

    for cell, values in runs:
        for seed, value in enumerate(values):
            write_run(folder, params, replace(cell, seed=seed), [value])
    columns = ["group", "seed", "dataset", "model", "last"]
    return read(params, folder) if runs else Results(params, pd.DataFrame(columns=columns), [], [])


@pytest.fixture
def params():
    return params_of(
        datasets=["cifar10"], models=["vgg19"], methods=["gmp", "granet"], sparsities=[0.95], seeds=[0, 1, 2]
    )


def test_rows_and_columns_as_printed(params):
    table = ModelRows(read_of(params), TABLE2, "vgg19").table()
    assert table.heads == [("CIFAR-10", 3), ("CIFAR-100", 3)]
    assert table.columns == ["90 %", "95 %", "98 %"] * 2
    assert [line.label for line in table.lines] == [
        *("VGG-19 (Dense)", "SNIP", "GraSP", "SynFlow"),
        *("Deep-R", "SET", "RigL", "GraNet (si = 0.5)"),
        *("STR", "SIS", "GMP", "GraNet (si = 0)"),
    ]
    assert [line.label for line in table.lines if line.heading] == ["SNIP", "Deep-R", "STR"]


def test_a_field_has_ours_above_the_papers_and_what_did_not_run_is_empty(params, tmp_path):
    results = read_of(params, tmp_path, [(GRANET, [0.90, 0.92, 0.94])])
    *_, gmp, granet = ModelRows(results, TABLE2, "vgg19").table().lines
    # Table 2, VGG-19, CIFAR-10, 95 %: GraNet 93.72 ± 0.11, GMP 93.58 ± 0.07
    ours = granet.numbers[1]
    assert (ours.text, ours.note, ours.below) == ("92.00 ± 2.00", "n = 3", ("93.72 ± 0.11", "−1.72"))
    assert (gmp.numbers[1].text, gmp.numbers[1].below) == ("", ("93.58 ± 0.07",))


def test_rows_that_the_grid_does_not_ask_for_have_the_papers_number_alone(params):
    snip = ModelRows(read_of(params), TABLE2, "vgg19").table().lines[1]
    assert [number.text for number in snip.numbers] == [""] * 6
    assert [number.below for number in snip.numbers][-1] == ("58.46 quoted",)


def test_a_section_with_another_setting_does_not_stand_in_the_papers_row(params, tmp_path):
    bent = replace(
        params, methods=params.methods | {"granet": params.methods["granet"] | {"drop_fraction": 0.3}}
    )
    results = read_of(bent, tmp_path, [(GRANET, [0.92])])
    granet = ModelRows(results, TABLE2, "vgg19").table().lines[-1]
    assert (granet.label, granet.numbers[1].text) == ("GraNet (si = 0)", "")
    own = ModelRows(results, FURTHER, "vgg19").table().lines[1]
    assert (own.label, own.numbers[0].text) == ("GraNet (si = 0, drop_fraction 0.3)", "92.00")


def test_deep_r_on_resnet_50_is_not_in_print_but_may_have_run():
    params = params_of(datasets=["cifar10"], models=["resnet50_cifar"], methods=["deep_r", "gmp"], **NO)
    rows = ModelRows(read_of(params), TABLE2, "resnet50_cifar")
    assert "Deep-R" in [line.label for line in rows.table().lines]
    assert rows.left_out() == ["SET"]


def test_columns_of_the_grid_come_beside_the_printed_ones():
    params = params_of(datasets=["digits", "cifar10"], models=["vgg19"], sparsities=[0.8, 0.9])
    table = ModelRows(read_of(params), TABLE2, "vgg19").table()
    assert table.heads == [("CIFAR-10", 4), ("CIFAR-100", 3), ("digits", 2)]
    assert table.columns == ["80 %", "90 %", "95 %", "98 %", "90 %", "95 %", "98 %", "80 %", "90 %"]


@pytest.mark.parametrize(
    ("datasets", "model", "stands_in"),
    [
        (["cifar10"], "resnet20", "ResNet-20"),
        (["digits"], "vgg19", "VGG-19 on digits"),
        (["cifar10"], "vgg19", ""),
    ],
)
def test_what_stands_in_for_the_papers_model_is_named(datasets, model, stands_in):
    rows = ModelRows(read_of(params_of(datasets=datasets, models=[model])), TABLE2, model)
    assert rows.stands_in == stands_in


def test_where_another_model_stands_in_there_are_the_grids_rows_and_no_paper():
    params = params_of(datasets=["cifar10"], models=["resnet20"], methods=["snip", "gmp"], **NO)
    rows = ModelRows(read_of(params), TABLE2, "resnet20")
    assert [line.label for line in rows.table().lines[1:]] == ["SNIP", "GMP"]
    assert rows.table().heads == [("CIFAR-10", 1)]
    assert not any(number.below for line in rows.table().lines[1:] for number in line.numbers)
    assert rows.left_out()[:2] == ["GraSP", "SynFlow"]


def test_table_6_follows_the_paper(tmp_path):
    params = params_of(
        datasets=["cifar10"],
        models=["vgg19"],
        methods=["granet", "granet_2x"],
        sparsities=[0.98],
        seeds=[0],
        reinit=[],
    )
    runs = [(replace(GRANET, stage="retrain", rewind="lth", sparsity=0.98), [0.92])]
    lines = ModelRows(read_of(params, tmp_path, runs), TABLE6, "vgg19").table().lines
    assert [line.label for line in lines[1:]] == ["GraNet (si = 0)", "+ LTH", "+ LRR", "GraNet 2x"]
    # Table 6, VGG-19, CIFAR-10, 98 %: LTH 92.46 ± 0.08
    assert lines[2].numbers[2].below == ("92.46 ± 0.08", "−0.46")


def test_table_9_is_tested_against_granet_pruned_alike():
    assert (TABLE9.id, TABLE9.against) == ("table9", "granet_uniform")


def test_differences_with_three_seeds_have_a_p_value(params, tmp_path):
    gmp = replace(GRANET, method="gmp")
    results = read_of(params, tmp_path, [(GRANET, [0.90, 0.92, 0.94]), (gmp, [0.80, 0.81, 0.85])])
    found = significance(ModelRows(results, TABLE2, "vgg19"))
    assert found is not None
    against, table, num_p = found
    assert (against, num_p) == ("GraNet (si = 0)", 1)
    (line,) = table.lines
    # pairs -10, -11, -9: t = -10 / (1 / sqrt(3)) = -17.3 with 2 degrees of freedom, p = 1 - sqrt(300 / 302)
    # g: -10 in deviations of sqrt((2^2 + 2.65^2) / 2) = 2.35 points, times 0.798
    note = "p = 0.003, g = −3.4"
    assert (line.label, line.numbers[1].text, line.numbers[1].note) == ("GMP", "−10.00", note)
    assert line.numbers[1].strong
    assert line.numbers[0].text == ""


def test_what_exceeds_the_noise_alone_need_not_among_all_of_its_table(tmp_path):
    """GMP's p of 0.020 counts three times: two more rows have tests."""
    grid = {"methods": ["granet", "gmp", "rigl", "set"], "sparsities": [0.95], "seeds": [0, 1, 2]}
    params = params_of(datasets=["cifar10"], models=["vgg19"], **grid, **NO)
    alike = [(replace(GRANET, method=name), [0.95, 0.90, 0.93]) for name in ("rigl", "set")]
    runs = [(GRANET, [0.905, 0.907, 0.906]), (replace(GRANET, method="gmp"), [0.901, 0.902, 0.903])]
    found = significance(ModelRows(read_of(params, tmp_path, [*runs, *alike]), TABLE2, "vgg19"))
    assert found is not None
    gmp = next(line for line in found[1].lines if line.label == "GMP").numbers[1]
    assert (found[2], gmp.note, gmp.strong) == (3, "p = 0.020, g = −3.2", False)


def test_with_fewer_seeds_there_is_no_p_value(params, tmp_path):
    gmp = replace(GRANET, method="gmp")
    results = read_of(params, tmp_path, [(GRANET, [0.90, 0.92, 0.94]), (gmp, [0.80, 0.82])])
    found = significance(ModelRows(results, TABLE2, "vgg19"))
    assert found is not None
    _, table, num_p = found
    assert num_p == 0
    assert table.lines[0].numbers[1].note == "too few seeds"


def test_without_runs_on_both_sides_there_is_nothing_to_test(params, tmp_path):
    results = read_of(params, tmp_path, [(GRANET, [0.90, 0.92, 0.94])])
    assert significance(ModelRows(results, TABLE2, "vgg19")) is None
    assert significance(ModelRows(results, FURTHER, "vgg19")) is None


def test_table_1_has_the_papers_settings_below_ours_where_they_differ(tmp_path):
    params = params_of(datasets=["cifar10"], models=["vgg19"], methods=[], seeds=[0], **NO)
    table = table1(read_of(params, tmp_path, [(DENSE, [0.95])]))
    assert table is not None
    rows = {line.label: [(number.text, *number.below) for number in line.numbers] for line in table.lines}
    assert rows["VGG-19 on CIFAR-10"] == [
        ("20", "160"),
        ("128",),
        ("0.1",),
        ("0.9",),
        ("10, 15 (× 0.1)", "80, 120 (× 0.1)"),
        ("0.0005",),
        ("95.00", "93.85 ± 0.05", "+1.15"),
    ]
    assert rows["ResNet-20 on CIFAR-10"][0] == ("", "160")
    assert rows["ResNet-20 on CIFAR-10"][-1] == ("", "92.41 ± 0.04")


def test_table_1_is_left_out_where_only_methods_on_other_data_are_asked_for():
    assert table1(read_of(params_of())) is None
    alone = table1(read_of(params_of(methods=[], **NO)))
    assert alone is not None
    assert [line.label for line in alone.lines] == ["ResNet-20 on digits"]
    assert not alone.compared
