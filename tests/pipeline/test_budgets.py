"""Budgets as CSV: from a distribution, from what a section fixes, from a run, and of the runs of a report."""

import csv
import json
from dataclasses import replace

import pytest

from granet.distributions import erk, uniform
from granet.methods.dense_layers import first, rule_sparing
from granet.sparsifier.clock import Clock
from granet.types import UserError
from pipeline.budgets import fixed_layers, main
from pipeline.params.files import compose
from pipeline.report.paper.costs import outline_of, planned_ratios
from pipeline.report.results import read
from pipeline.report.tables.budgets import COLUMNS, budget_rows, budget_tables
from pipeline.report.tables.model import Tables
from pipeline.training.cell import Cell
from tests.helpers.runs import params_of, write_run

SMALL = ("model=resnet20", "image_size=32", "num_classes=10")
GRANET = Cell("sparse", "digits", "resnet20", 0, "granet", 0.98)


def table(text):
    return {row["layer"]: row for row in csv.DictReader(text.splitlines())}


def test_erk_on_resnet50_is_the_default(capsys):
    main([])
    rows = table(capsys.readouterr().out)
    assert list(rows)[:3] == ["overall", "backbone", "conv1.weight"]
    assert rows["overall"]["dense_flops"] == "8178569216"
    assert round(float(rows["overall"]["flops_ratio"]), 2) == 0.24
    assert [name for name, row in rows.items() if row["sparsity"] == "0.0" and row["shape"]] == [
        "layer1.0.conv1.weight"
    ]


def test_a_file_has_the_same_rows(tmp_path, capsys):
    out = tmp_path / "new/budget.csv"
    main([*SMALL, "distribution=uniform", "sparsity=0.5", f"out={out}"])
    rows = table(out.read_text())
    assert tuple(rows["overall"]) == COLUMNS
    assert (rows["conv1.weight"]["shape"], rows["conv1.weight"]["active"]) == ("16x3x3x3", "216")
    assert capsys.readouterr().out == f"{out}: {len(rows)} rows\n"


@pytest.mark.parametrize(
    ("section", "ratio"),
    [("dense", 1.0), ("static_uniform", 0.1), ("gmp_uniform", 0.1)],
)
def test_what_a_section_fixes_before_training(section, ratio, capsys):
    main([*SMALL, f"method={section}"])
    assert float(table(capsys.readouterr().out)["overall"]["flops_ratio"]) == pytest.approx(ratio, abs=2e-3)


def test_rigl_keeps_the_erk_layers_that_it_starts_from(capsys):
    ratios = []
    for choice in ("method=rigl", "distribution=erk"):
        main([*SMALL, choice])
        ratios.append(float(table(capsys.readouterr().out)["overall"]["flops_ratio"]))
    assert ratios[0] == pytest.approx(ratios[1], rel=1e-3)  # whole numbers of weights


@pytest.mark.parametrize("section", ["granet", "gmp", "dsr", "snip", "synflow", "imp"])
def test_what_training_decides_is_refused(section):
    with pytest.raises(UserError, match=f"method={section}: its layer sparsities come from training"):
        main([*SMALL, f"method={section}"])


@pytest.fixture(scope="module")
def table3():
    return compose(["recipe=table3"])


@pytest.fixture(scope="module")
def resnet50():
    return outline_of("resnet50", 1000, (3, 224, 224))


def planned_of(section, sparsity, params, network, rule=None):
    """Training and inference FLOPs of a section of Table 3, as ratios to the dense run that is not extended."""
    method = params.method(section, sparsity, STEPS)
    layers = {} if rule else fixed_layers(section, method, "resnet50", 1000)
    total = params.train_config(section).total_epochs * STEPS
    training, inference = planned_ratios(network, Clock(method, total), rule or (lambda *_: layers), total)
    return training * total / (params.train.epochs * STEPS), inference


STEPS = 10_010
"""Per epoch of ImageNet."""


@pytest.mark.parametrize(
    ("section", "sparsity", "training", "inference"),
    [
        # ERK layers that stay: 0.414 and 0.242 of the dense FLOPs; a dense momentum adds (1 - f) / 3 to training
        ("snfs_2020", 0.8, 0.609, 0.414),  # in print 0.61, 0.42
        ("snfs_2020", 0.9, 0.495, 0.242),  # 0.50, 0.24
        ("rigl_2020", 0.8, 0.414, 0.414),  # 0.42, 0.42
        ("rigl_2020", 0.9, 0.242, 0.242),  # 0.25, 0.24
        # the dense first convolution is 2.9 % of all FLOPs, so that 0.2 and 0.1 of the others leave 0.223 and 0.126:
        # in print 0.23 and 0.10, the one rounded up, the other without that convolution
        ("snip_2020", 0.8, 0.223, 0.223),
        ("snip_2020", 0.9, 0.126, 0.126),
        ("set_2020", 0.8, 0.223, 0.223),
        ("set_2020", 0.9, 0.126, 0.126),
    ],
)
def test_what_table_3_quotes_from_the_rigl_paper_costs_what_it_does_there(
    section, sparsity, training, inference, table3, resnet50
):
    assert planned_of(section, sparsity, table3, resnet50) == pytest.approx((training, inference), abs=6e-4)


def test_the_printed_tenth_is_that_of_the_layers_but_the_first(resnet50):
    spared = resnet50.at(rule_sparing(uniform, first)(resnet50.shapes, 0.9))
    others = [layer for layer in spared.layers if layer.shape and layer.name != "conv1.weight"]
    assert sum(one.flops for one in others) / sum(one.dense_flops for one in others) == pytest.approx(
        0.1, abs=4e-4
    )


@pytest.mark.parametrize(("sparsity", "after", "expected"), [(0.8, 0.34, 0.875), (0.9, 0.20, 0.54)])
def test_granet_two_and_a_half_times_as_long_costs_more_than_in_print(
    sparsity, after, expected, table3, resnet50
):
    """In print 0.85 and 0.49: 2.5 times what a forward costs after pruning, 0.34 and 0.20, without the denser start.

    Learnt layers lie between uniform and ERK ones, as far from both as their FLOPs in print do.
    """
    method = table3.method("granet_s2s_2_5x", sparsity, STEPS)
    assert method.prune is not None
    assert method.prune.tf == 30 * STEPS
    low, high = (planned_of("granet_s2s_2_5x", sparsity, table3, resnet50, rule) for rule in (uniform, erk))
    between = (after - low[1]) / (high[1] - low[1])
    assert low[0] + between * (high[0] - low[0]) == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("foo", "'foo' is no argument of pipeline.budgets; write key=value"),
        ("sparsity=x", "sparsity='x' is not valid: write numbers, e.g. sparsity=0.9"),
        ("sparsity=2", "sparsity=2.0 must lie in"),
        ("image_size=8", "image_size='8' must be one number of at least 32"),
        ("num_classes=1,2", "num_classes='1,2' must be one number"),
        ("model=lenet", "model='lenet' is unknown"),
        ("distribution=erkk", "distribution='erkk' is unknown; did you mean erk"),
        ("method=granett", "method='granett' is unknown; did you mean granet"),
        ("run=nowhere", "run=nowhere holds no finished run"),
    ],
)
def test_bad_arguments_are_one_line(argument, message):
    with pytest.raises(UserError, match=message):
        main([argument])


def test_forms_exclude_each_other():
    with pytest.raises(UserError, match="distribution= and run= exclude each other"):
        main(["run=x", "distribution=erk"])
    with pytest.raises(UserError, match="sparsity= does not go with run="):
        main(["run=x", "sparsity=0.9"])


def test_the_sweep_names_its_assumption(capsys):
    main(["sweep=0,0.8"])
    header, *rows = csv.reader(capsys.readouterr().out.splitlines())
    assert header[:5] == ["si", "sf", "assumed", "training", "inference"]
    assert [row[:3] for row in rows] == [
        ["0.0", "0.9", "erk"],
        ["0.8", "0.9", "erk"],
        ["0.0", "0.9", "uniform"],
        ["0.8", "0.9", "uniform"],
    ]


def write_network(root, params, cell, sparsity):
    """A run of a real ResNet-20 with the same sparsity in every layer."""
    network = outline_of("resnet20", 10, (3, 32, 32))
    folder = write_run(root, params, cell, [0.9], layers=dict.fromkeys(network.shapes, sparsity))
    summary = json.loads((folder / "summary.json").read_text())
    summary["flops"]["inference_dense"] = network.dense.total
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_a_finished_run_says_what_it_has_learnt(tmp_path, capsys):
    folder = write_network(tmp_path, params_of(), GRANET, 0.75)
    main([f"run={folder}"])
    rows = table(capsys.readouterr().out)
    assert rows["overall"]["dense_flops"] == "81634560"
    assert {row["sparsity"] for name, row in rows.items() if row["shape"]} == {"0.75"}


def test_a_run_whose_flops_are_not_its_networks_is_refused(tmp_path):
    folder = write_network(tmp_path, params_of(), GRANET, 0.75)
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps(summary | {"num_classes": 7}))
    with pytest.raises(UserError, match="has other dense FLOPs than its network"):
        main([f"run={folder}"])


def test_the_report_has_the_mean_over_the_seeds(tmp_path):
    params = params_of(methods=["gmp", "granet"], seeds=[0, 1], reinit=[], retrain=[], rewinds=[])
    for seed, sparsity in ((0, 0.5), (1, 1.0)):
        write_network(tmp_path, params, replace(GRANET, seed=seed), sparsity)
    results = read(params, tmp_path)
    series = Tables(results, "digits", "resnet20").series()
    ((title, shown),) = budget_tables(results, series)
    assert title == "98 % sparse"
    assert shown.heads == [("Dense", 2), ("GraNet (si = 0)", 3)]  # GMP has not run
    conv1 = next(line for line in shown.lines if line.label == "conv1.weight")
    # 16 x 3 x 9 weights at 32 x 32 positions; a mean sparsity of 0.75 leaves a quarter
    assert [number.text for number in conv1.numbers] == ["432", "0.885", "108", "75.00", "0.221"]
    rows = list(budget_rows(results, series))
    assert rows[0][:2] == ["sparse-digits-resnet20-granet-0.98", "overall"]
    assert len(rows) == len(shown.lines)


def test_runs_with_other_layers_than_their_network_have_no_budget(tmp_path):
    params = params_of(methods=["granet"], reinit=[], retrain=[], rewinds=[])
    write_run(tmp_path, params, GRANET, [0.9])
    results = read(params, tmp_path)
    assert not list(budget_tables(results, Tables(results, "digits", "resnet20").series()))
