"""The paper's numbers, and where they may stand beside ours."""

from pathlib import Path

import pandas as pd
import pytest

from pipeline.paper import FILE, Published, differences, published
from pipeline.params import read_yaml
from pipeline.runs import Cell
from tests.helpers.runs import params_of

TRANSCRIPT = Path(__file__).parents[2].parent / "shared/paper/tables.yaml"
SECTIONS = params_of().methods


@pytest.mark.parametrize(
    "cell, section, expected",
    [
        (Cell("dense", "cifar10", "resnet20", 0), "dense", Published(0.9241, 0.0004)),  # Table 1
        (Cell("sparse", "cifar100", "vgg19", 0, "rigl", 0.98), "rigl", Published(0.6982, 0.0009)),  # Table 2
        (Cell("sparse", "cifar10", "vgg19", 0, "set", 0.9), "set", Published(0.9246, None)),  # quoted
        (Cell("sparse", "cifar10", "resnet50_cifar", 0, "x", 0.95), "granet_s2s", Published(0.9438, 0.0028)),
        (Cell("retrain", "cifar100", "vgg19", 0, "granet", 0.9, "lrr"), "granet", Published(0.7371, 0.0008)),
    ],
)
def test_numbers_in_print(cell, section, expected):
    found = published(cell, SECTIONS[section])
    assert found is not None
    assert found.mean == pytest.approx(expected.mean)
    assert found.std == pytest.approx(expected.std)


@pytest.mark.parametrize(
    "cell, section",
    [
        (Cell("sparse", "digits", "resnet20", 0, "granet", 0.98), SECTIONS["granet"]),  # not its data set
        (Cell("sparse", "cifar10", "resnet20", 0, "granet", 0.9), SECTIONS["granet"]),  # not its model
        (Cell("sparse", "cifar10", "vgg19", 0, "granet", 0.8), SECTIONS["granet"]),  # not its sparsity
        (Cell("sparse", "cifar10", "vgg19", 0, "granet", 0.9), SECTIONS["granet"] | {"si": 0.6}),
        (Cell("sparse", "cifar10", "vgg19", 0, "rigl", 0.9), SECTIONS["rigl"] | {"distribution": "uniform"}),
        (Cell("retrain", "cifar10", "vgg19", 0, "gmp", 0.9, "lth"), SECTIONS["gmp"]),
        (Cell("reinit", "cifar10", "vgg19", 0, "granet", 0.9), SECTIONS["granet"]),  # a figure only
    ],
)
def test_no_number_where_the_paper_has_no_such_setting(cell, section):
    assert published(cell, section) is None


def test_the_paper_itself_departs_from_nothing():
    params = params_of(datasets=["cifar10"], models=["vgg19"], seeds=[0, 1, 2])
    params.train.epochs = 160
    for name in params.grid.methods:
        params.methods[name] = params.methods[name] | {"update_interval": 1000}
    runs = pd.DataFrame({"num_train": [45000], "num_test": [10000]})
    assert differences("cifar10", params, runs) == []


@pytest.mark.skipif(
    not TRANSCRIPT.exists(), reason="the transcript of the paper's tables lies beside the project"
)
def test_paper_yaml_agrees_with_the_transcript():
    ours, theirs = read_yaml(FILE), read_yaml(TRANSCRIPT)
    names = {"vgg19": "vgg19", "resnet50_cifar": "resnet50"}
    table = {}
    for row in ours["methods"]:
        section = row["section"]
        name = "granet_s2s" if section.get("si") else section["method"]
        table[name] = {names[model]: row[model] for model in names if model in row}
    for model in names.values():
        expected = theirs["table2_cifar"][model]
        assert {name: row[model] for name, row in table.items() if model in row} == expected
    for row in ours["retrain"]:
        for model, name in names.items():
            assert row[model] == theirs["table6_retraining"][name][row["rewind"]]
    for model, row in ours["dense"].items():
        for dataset, value in row.items():
            setup = f"{names.get(model, model)}_{dataset}"
            assert value == theirs["table1_setup"][setup]["dense"]
