"""The ImageNet tables in the paper's layout: which ones, which rows and columns, and what stands in each field."""

from dataclasses import replace

import pandas as pd
import pytest

from pipeline.report.names import defaults
from pipeline.report.paper.numbers import (
    FURTHER,
    IMAGENET,
    further,
    layouts,
    of_cifar,
    of_imagenet,
    published,
    rows,
)
from pipeline.report.paper.protocol import differences, seeds_missing
from pipeline.report.results import Results, read
from pipeline.report.tables.model import Tables
from pipeline.report.tables.printed import ModelRows
from pipeline.training.cell import Cell
from tests.helpers.runs import params_of, write_run

TABLE3, TABLE4, TABLE5, TABLE8 = layouts(IMAGENET)
OWN = {name: dict(row.section) for name, row in rows(IMAGENET).items() if name != "dense"}
DENSE = Cell("dense", "imagenet", "resnet50", 0)
GRANET = Cell("sparse", "imagenet", "resnet50", 0, "granet_s2s", 0.9)
TRAIN = {
    "epochs": 100,
    "lr_drops": [0.3, 0.6, 0.9],
    "warmup_epochs": 5.0,
    "nesterov": False,
    "weight_decay": 1e-4,
    "decay_norm": False,
    "label_smoothing": 0.1,
    "micro_batch": 64,
}


def imagenet(methods, sparsities=(0.9,), datasets=("imagenet",), models=("resnet50",), **train):
    """Parameters on ImageNet, without the checks of a grid."""
    params = params_of(seeds=[0], reinit=[], retrain=[], rewinds=[])
    sections = {
        name: defaults(own["method"]) | own | ({"tf": "30ep"} if name in ("granet", "gmp") else {})
        for name, own in OWN.items()
        if name in methods
    }
    sections |= {
        name: values | {"update_interval": "4000it"}
        for name, values in sections.items()
        if values["method"] in ("granet", "gmp")
    }
    grid = {"datasets": list(datasets), "models": list(models), "methods": list(methods)}
    return replace(
        params,
        grid=replace(params.grid, **grid, sparsities=list(sparsities)),
        methods=params.methods | sections,
        train=replace(params.train, **TRAIN | train),
    )


def read_of(params, folder=None, runs=()):
    """Results with these runs, (cell, accuracy), or without any."""
    for cell, value in runs:
        images = {"train": 1_281_167, "test": 50_000}
        write_run(folder, params, cell, [value], num_images=images, training_ratio=0.26, inference_ratio=0.19)
    columns = ["group", "seed", "dataset", "model", "last", "training_ratio", "inference_ratio"]
    return read(params, folder) if runs else Results(params, pd.DataFrame(columns=columns), [], [])


@pytest.mark.parametrize(
    ("methods", "sparsities", "tables"),
    [
        (TABLE4.row_ids, [0.9], ["table4"]),  # and not Table 5, whose rows it has
        (TABLE4.row_ids, [0.9, 0.95], ["table4", "table5"]),
        (TABLE5.row_ids, [0.8, 0.9, 0.95, 0.965], ["table5"]),
        (TABLE5.row_ids, [0.9], ["table5"]),
        (TABLE8.row_ids, [0.8, 0.9], ["table8"]),
        (["granet", "granet_s2s", "granet_si06"], [0.9], ["table4"]),  # as Figure 15: most of its rows
        (
            ["granet", "granet_s2s", "rigl_2020"],
            [0.9],
            ["table4"],
        ),  # and not Table 5, which lacks GraNet from dense
        (["granet"], [0.8, 0.9], ["table3"]),
        (["deep_r"], [0.9], []),
    ],
)
def test_tables_that_the_grid_has(methods, sparsities, tables):
    assert [layout.id for layout in of_imagenet(imagenet(methods, sparsities))] == tables


def test_imagenet_and_cifar_have_tables_of_their_own():
    alone = imagenet(["granet", "gmp"])
    assert of_cifar(alone) == []
    assert of_imagenet(replace(alone, grid=replace(alone.grid, datasets=["cifar10"]))) == []
    both = imagenet(["granet_s2s"], datasets=["cifar10", "imagenet"], models=["vgg19", "resnet50"])
    (table2,) = of_cifar(both)
    assert [head for head, _ in ModelRows(read_of(both), table2, "vgg19").table().heads] == [
        "CIFAR-10",
        "CIFAR-100",
    ]


def test_what_no_table_has_stands_further_below():
    params = imagenet(["granet", "deep_r"])
    assert further(params) == [("sparse", "deep_r", None)]
    assert ModelRows(read_of(params), FURTHER, "resnet50").table().heads == [("ImageNet", 1)]


def test_table_3_has_three_columns_per_sparsity():
    table = ModelRows(read_of(imagenet(TABLE3.row_ids)), TABLE3, "resnet50").table()
    assert table.heads == [("80 % sparse", 3), ("90 % sparse", 3)]
    assert table.columns == ["top-1, %", "training FLOPs", "test FLOPs"] * 2
    assert [line.label for line in table.lines] == [
        *("ResNet-50 (Dense)", "Static (ERK)", "Small-Dense", "SNIP (RigL's settings)"),
        *("SET (RigL's settings)", "DSR"),
        *(
            "RigL (own settings)",
            "SNFS (RigL's settings)",
            "GraNet (si = 0.5)",
            "STR",
            "DPF",
            "GMP (original)",
            "GraNet (si = 0)",
        ),
        *("Small-Dense 5x", "RigL-ITOP 2x", "RigL 5x (own settings)", "GraNet 2.5x (si = 0.5)"),
    ]
    assert [line.label for line in table.lines if line.heading] == ["Static (ERK)", "STR", "Small-Dense 5x"]
    below = {line.label: [number.below for number in line.numbers] for line in table.lines}
    assert below["ResNet-50 (Dense)"][:3] == [("76.80 ± 0.09",), ("3.2e+18",), ("8.2e+09",)]
    assert below["SNFS (RigL's settings)"][:3] == [("75.20 ± 0.11 quoted",), ("0.61×",), ("0.42×",)]
    assert below["STR"] == [("76.10 quoted",), (), ("0.17×",), ("74.00 quoted",), (), ("0.08×",)]
    assert below["DPF"][3:] == [(), (), ()]
    assert below["GraNet (si = 0)"][3:] == [("74.20",), ("0.23×",), ("0.16×",)]  # the authors' own, once


def test_ours_stand_above_the_papers(tmp_path):
    params = imagenet(TABLE4.row_ids)
    results = read_of(params, tmp_path, [(DENSE, 0.77), (GRANET, 0.75)])
    table = ModelRows(results, TABLE4, "resnet50").table()
    assert [head for head, _ in table.heads] == ["si", "sf", "top-1, %", "training FLOPs", "test FLOPs"]
    dense, first, s2s, *_, rigl = table.lines
    # write_run: a dense network of 10^6 FLOPs, 3 x 10^6 to train
    assert [(n.text, n.note, n.below) for n in dense.numbers[2:]] == [
        ("77.00", "n = 1", ("76.80 ± 0.09", "+0.20")),
        ("1×", "3.0e+06", ("3.2e+18",)),
        ("1×", "1.0e+06", ("8.2e+09",)),
    ]
    assert [n.text for n in s2s.numbers] == ["0.5", "0.9", "75.00", "0.26×", "0.19×"]
    assert [n.below for n in s2s.numbers[2:]] == [("74.50", "+0.50"), ("0.25×",), ("0.20×",)]
    assert [n.text for n in first.numbers] == ["0", "0.9", "", "", ""]  # not run
    assert [n.text for n in rigl.numbers[:2]] == ["0.9", "0.9"]  # RigL starts as sparse as it ends


def test_table_5_is_a_block_per_sparsity():
    table = ModelRows(read_of(imagenet(TABLE5.row_ids)), TABLE5, "resnet50").table()
    assert [line.heading for line in table.lines if line.heading] == [
        "80 % sparse",
        "90 % sparse",
        "95 % sparse",
        "96.5 % sparse",
    ]
    assert [n.below for n in table.lines[-1].numbers[2:]] == [("70.50",), ("0.15×",), ("0.09×",)]


def test_another_model_has_no_paper_beside_it():
    rows = ModelRows(read_of(imagenet(["granet"], models=["vgg19"])), TABLE3, "vgg19")
    assert not rows.in_paper
    assert [line.label for line in rows.table().lines] == ["VGG-19 (Dense)", "GraNet (si = 0)"]
    assert not any(number.below for line in rows.table().lines for number in line.numbers)
    assert "SNIP (RigL's settings)" in rows.left_out()


def test_a_row_is_found_whenever_its_masks_are_updated():
    small = {"update_interval": "5it", "tf": "1ep"}
    params = imagenet(["granet", "rigl_itop_2x"])
    params = replace(params, methods={name: own | small for name, own in params.methods.items()})
    for name in ("granet", "rigl_itop_2x"):
        assert rows(IMAGENET)[name].find(params) == name
    assert published(replace(GRANET, method="granet").group, params.methods["granet"]).mean == 0.742
    assert published(GRANET.group, OWN["granet_s2s"] | {"si": 0.4}) is None


def test_the_paper_itself_departs_from_nothing(tmp_path):
    params = imagenet(["granet", "gmp", "granet_s2s"])
    assert differences(read_of(params, tmp_path, [(DENSE, 0.77)]), "imagenet") == []
    assert seeds_missing(params) == []  # the paper has one seed


@pytest.mark.parametrize(
    ("train", "images"),
    [
        ({"micro_batch": None}, 128),
        ({"micro_batch": None, "num_processes": 2}, None),
        ({"num_processes": 8}, 16),
        ({"micro_batch": None, "num_processes": 2, "sync_bn": True}, 128),
    ],
)
def test_batch_norm_over_other_numbers_of_images_is_said(tmp_path, train, images):
    found = differences(read_of(imagenet(["granet"], **train), tmp_path, [(DENSE, 0.77)]), "imagenet")
    assert found == ([f"BatchNorm over {images} images instead of 64"] if images else [])


def test_another_initialisation_or_end_of_pruning_is_said(tmp_path):
    params = imagenet(["granet", "granet_s2s_2_5x"], init="fan_out")
    longer = params.methods["granet_s2s_2_5x"] | {"tf": "30ep"}  # of 250 epochs: times 2.5
    params = replace(params, methods=params.methods | {"granet_s2s_2_5x": longer})
    assert differences(read_of(params, tmp_path, [(DENSE, 0.77)]), "imagenet") == [
        "initialisation fan_out instead of the model's own",
        "pruning ends at epoch 30 or 75 instead of 30",
    ]


def test_a_small_run_departs_and_says_in_what(tmp_path):
    params = imagenet(["granet"], epochs=2, nesterov=True, decay_norm=True, warmup_epochs=0.0)
    own = params.methods["granet"] | {"tf": "1ep", "update_interval": "2it"}
    data = replace(params.data, image_size=64)
    params = replace(params, data=data, methods=params.methods | {"granet": own})
    write_run(tmp_path, params, DENSE, [0.1], num_images={"train": 500, "test": 100})
    assert differences(read(params, tmp_path), "imagenet") == [
        "2 of 100 epochs",
        "warm-up epochs 0.0 instead of 5",
        "with Nesterov momentum",
        "with weight decay on BatchNorm",
        "500 of 1,281,167 training images",
        "100 of 50,000 test images",
        "images of 64 instead of 224 pixels",
        "masks updated every 2 steps instead of 4,000",
        "pruning ends at epoch 1 instead of 30",
    ]


def test_figure_15_goes_by_initial_sparsity():
    params = imagenet(["rigl_2020", "granet_si08", "granet_s2s", "granet"])
    series = Tables(read_of(params), "imagenet", "resnet50").granet_series()
    assert [one.group.split("-")[3] for one in series] == ["granet", "granet_s2s", "granet_si08"]
