"""The paper's numbers, where they may stand beside ours, and how our protocol departs."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.params.files import read_yaml
from pipeline.report.paper.numbers import (
    CIFAR,
    IMAGENET,
    columns,
    layouts,
    printed,
    published,
    records,
    rows,
)
from pipeline.report.paper.protocol import differences, protocol, seeds_missing, settings
from pipeline.report.results import read
from pipeline.training.cell import Cell, Group
from tests.helpers.runs import params_of, write_run

TRANSCRIPT = Path(__file__).parents[2] / "golden/paper.yaml"
"""The tables of arXiv:2106.10404v4, typed a second time and apart from numbers.csv."""
SECTIONS = params_of().methods


def sparse(dataset, model, sparsity, stage="sparse", rewind=None):
    return Group(stage, dataset, model, "any", sparsity, rewind)


@pytest.mark.parametrize(
    "group, section, expected",
    [
        (Group("dense", "cifar10", "resnet20"), "dense", (0.9241, 0.0004)),  # Table 1
        (sparse("cifar100", "vgg19", 0.98), "rigl", (0.6982, 0.0009)),  # Table 2
        (sparse("cifar10", "vgg19", 0.9), "set", (0.9246, None)),  # quoted
        (sparse("cifar10", "resnet50_cifar", 0.95), "granet_s2s", (0.9438, 0.0028)),
        (sparse("cifar100", "vgg19", 0.95, "after"), "sis", (0.7185, None)),
        (sparse("cifar100", "vgg19", 0.9, "retrain", "lrr"), "granet", (0.7371, 0.0008)),  # Table 6
        (sparse("cifar10", "vgg19", 0.98), "granet_2x", (0.9394, 0.0011)),
        (sparse("cifar100", "vgg19", 0.98), "gmp_uniform", (0.6616, 0.0023)),  # Table 9
    ],
)
def test_numbers_in_print(group, section, expected):
    found = published(group, SECTIONS[section])
    assert found is not None
    assert found.mean == pytest.approx(expected[0])
    assert found.std == pytest.approx(expected[1])


@pytest.mark.parametrize(
    "group, section",
    [
        (sparse("digits", "resnet20", 0.98), SECTIONS["granet"]),  # not its data set
        (sparse("cifar10", "resnet20", 0.9), SECTIONS["granet"]),  # not its model
        (sparse("cifar10", "vgg19", 0.8), SECTIONS["granet"]),  # not its sparsity
        (sparse("cifar10", "vgg19", 0.9), SECTIONS["granet"] | {"si": 0.6}),
        (sparse("cifar10", "vgg19", 0.9), SECTIONS["granet"] | {"drop_fraction": 0.3}),
        (sparse("cifar10", "vgg19", 0.9), SECTIONS["granet"] | {"extend": 3.0}),
        (sparse("cifar10", "vgg19", 0.9), SECTIONS["rigl"] | {"distribution": "uniform"}),
        (sparse("cifar10", "vgg19", 0.9), SECTIONS["rigl_2020"]),
        (sparse("cifar10", "vgg19", 0.9), SECTIONS["rigl_itop"]),
        (sparse("cifar10", "vgg19", 0.9), SECTIONS["gmp_original"]),
        (sparse("cifar10", "vgg19", 0.9, "retrain", "lth"), SECTIONS["gmp"]),
        (sparse("cifar10", "vgg19", 0.9, "reinit"), SECTIONS["granet"]),  # a figure only
    ],
)
def test_no_number_where_the_paper_has_no_such_setting(group, section):
    assert published(group, section) is None


def test_a_row_is_the_section_of_its_own_name_where_two_have_its_values():
    twin = SECTIONS["granet"]
    params = params_of(methods=["gmp", "granet"])
    params = replace(params, methods=params.methods | {"gmp": twin})
    assert rows(CIFAR)["granet"].find(params) == "granet"
    assert rows(CIFAR)["gmp"].find(params) is None
    params = replace(params, grid=replace(params.grid, methods=["gmp"]))
    assert rows(CIFAR)["granet"].find(params) == "gmp"


def test_rows_of_retraining_need_their_rewind_in_the_grid():
    params = params_of(rewinds=["lth"])
    assert rows(CIFAR)["granet_lth"].find(params) == "granet"
    assert rows(CIFAR)["granet_lrr"].find(params) is None


@pytest.fixture
def cifar():
    """The paper's protocol on CIFAR-10."""
    params = params_of(
        datasets=["cifar10"], models=["vgg19"], methods=["gmp", "granet", "set"], seeds=[0, 1, 2]
    )
    own = {name: params.methods[name] | {"update_interval": "auto"} for name in ("gmp", "granet")}
    return replace(params, train=replace(params.train, epochs=160), methods=params.methods | own)


def departures(params, folder, train=45000):
    write_run(
        folder,
        params,
        Cell("dense", "cifar10", "vgg19", 0),
        [0.9],
        num_images={"train": train, "test": 10000},
    )
    return differences(read(params, folder), "cifar10")


def test_the_paper_itself_departs_from_nothing(cifar, tmp_path):
    assert departures(cifar, tmp_path) == []
    assert seeds_missing(cifar) == []
    assert seeds_missing(params_of(seeds=[0])) == ["1 of 3 seeds"]


def test_a_short_run_departs_and_says_in_what(cifar, tmp_path):
    short = replace(cifar, train=replace(cifar.train, epochs=3))
    # 2000 images make 16 steps, 3 epochs 48: a 56th of them is less than one step
    assert departures(short, tmp_path, train=2000) == [
        "3 of 160 epochs",
        "2,000 of 45,000 training images",
        "masks updated every step instead of 1,000",
    ]


@pytest.mark.parametrize(
    ("train", "phrase"),
    [
        ({"label_smoothing": 0.1}, "label smoothing 0.1 instead of 0.0"),
        ({"warmup_epochs": 5.0}, "warm-up epochs 5.0 instead of 0"),
        ({"nesterov": False}, "without Nesterov momentum"),
        ({"decay_bias": False}, "without weight decay on biases"),
        ({"exclude": ["features.0"]}, "layers ['features.0'] stay dense"),
        ({"recalibrate": 512}, "BatchNorm recalibrated on 512 images"),
        ({"micro_batch": 8}, "BatchNorm over 8 images instead of 128"),
    ],
)
def test_every_key_that_trains_otherwise_departs(cifar, tmp_path, train, phrase):
    assert departures(replace(cifar, train=replace(cifar.train, **train)), tmp_path) == [phrase]


def test_an_extended_run_departs(cifar, tmp_path):
    longer = replace(cifar, train=replace(cifar.train, extend=1.5))
    assert departures(longer, tmp_path) == ["epochs 240 instead of 160"]


def test_an_interval_in_epochs_is_compared_in_steps(cifar, tmp_path):
    own = {"gmp": cifar.methods["gmp"] | {"update_interval": "1ep"}}
    # 45,000 images at batch size 128 are 352 steps
    assert departures(replace(cifar, methods=cifar.methods | own), tmp_path) == [
        "masks updated every 352 or 1,000 steps instead of 1,000"
    ]


def test_where_nothing_ran_nothing_departs(cifar, tmp_path):
    params = replace(cifar, grid=replace(cifar.grid, datasets=["cifar10", "cifar100"]))
    write_run(tmp_path, params, Cell("dense", "cifar10", "vgg19", 0), [0.9])
    assert differences(read(params, tmp_path), "cifar100") == []


@pytest.mark.parametrize("family", [CIFAR, IMAGENET])
def test_every_row_of_a_table_exists_and_its_reference_is_one_of_them(family):
    for layout in layouts(family):
        assert set(layout.row_ids) <= set(rows(family))
        assert layout.against in ("", *layout.row_ids)


def test_numbers_in_print_are_records():
    record = records()["granet_s2s", "imagenet", "resnet50", 0.9, "inference_ratio"]
    assert (record.mean, record.std, record.row.section) == (0.20, None, {"method": "granet", "si": 0.5})
    assert not any(record.row.quoted for record in records().values() if record.row.id in ("granet", "dense"))
    assert all(record.row.quoted for record in records().values() if record.row.id in ("snip", "str", "sis"))


# A section is a row where its resolved values are equal


@pytest.mark.parametrize(
    ("row", "values", "is_row"),
    [
        ("granet", {}, True),
        ("granet", {"t0": "0it"}, True),  # the default is written 0it or 0ep: the same step of any run
        ("granet", {"t0": "0ep"}, True),
        ("granet", {"t0": "0.0ep"}, True),
        ("granet", {"t0": "1it"}, False),
        ("granet", {"t0": "1ep"}, False),
        ("granet", {"update_interval": "0.5ep"}, True),  # the interval is not the row's
        ("granet_s2s", {"si": 0.5}, True),
        ("granet_s2s", {"si": 0.4999999}, False),  # prints as 0.5
        ("granet_s2s", {"si": 0.50000001}, False),
        ("granet_2x", {"extend": 2.0}, True),
        ("granet_2x", {"extend": 2.0000001}, False),
        ("granet_uniform", {"distribution": "uniform", "t0": "0ep"}, True),
    ],
)
def test_a_section_is_a_row_by_its_resolved_values(row, values, is_row):
    section = SECTIONS["granet"] | values
    assert rows(CIFAR)[row].is_section(section) == is_row
    methods = {"granet": section}
    params = params_of(methods=["granet"], reinit=[], retrain=[], rewinds=[])
    assert (rows(CIFAR)[row].find(replace(params, methods=params.methods | methods)) == "granet") == is_row


def test_on_imagenet_neither_the_interval_nor_the_end_of_pruning_is_the_rows():
    section = SECTIONS["granet"] | {"tf": "30ep", "update_interval": "4000it", "t0": "0ep"}
    assert rows(IMAGENET)["granet"].is_section(section)
    assert not rows(CIFAR)["granet"].is_section(section)
    assert not rows(IMAGENET)["granet_si06"].is_section(section | {"si": 0.5999999})


def transcribed(row, dataset, model, sparsity, metric="last"):
    """A number as the transcript has it: [mean, std] or the mean, in percent where it is an accuracy."""
    record = records().get((row, dataset, model, sparsity, metric))
    if record is None or metric != "last":
        return record and record.mean
    numbers = [round(100 * value, 2) for value in (record.mean, record.std) if value is not None]
    return numbers if record.std is not None else numbers[0]


def test_the_cifar_tables_agree_with_the_transcript():
    theirs = read_yaml(TRANSCRIPT)
    names = {"vgg19": "vgg19", "resnet50_cifar": "resnet50"}
    places = [(dataset, sparsity) for dataset, own in columns().items() for sparsity in own]
    compared = set()
    for layout, source, other in zip(
        layouts(CIFAR),
        ("table2_cifar", "table6_retraining", "table9_uniform_pruning"),
        ({}, {"granet_lth": "lth", "granet_lrr": "lrr"}, {"gmp_uniform": "gmp", "granet_uniform": "granet"}),
        strict=True,
    ):
        for model, name in names.items():
            found = {}
            for row in layout.row_ids:
                values = [transcribed(row, dataset, model, sparsity) for dataset, sparsity in places]
                if any(value is not None for value in values):
                    found[other.get(row, row)] = values
                    compared |= {(row, dataset, model, sparsity, "last") for dataset, sparsity in places}
            assert found == theirs[source][name]
            assert list(found) == list(theirs[source][name])  # in the order of print
    for model, dataset in settings():
        expected = theirs["table1_setup"][f"{names.get(model, model)}_{dataset}"]["dense"]
        assert transcribed("dense", dataset, model, None) == expected
        compared.add(("dense", dataset, model, None, "last"))
    assert len(settings()) == 5
    assert compared == {key for key in records() if key[1] != IMAGENET}  # nothing else is in print


def test_the_imagenet_tables_agree_with_the_transcript():
    found = {}
    for row, dataset, model, sparsity, metric in records():
        if dataset == IMAGENET and metric == "last" and sparsity:
            place = row, dataset, model, sparsity
            numbers = [transcribed(*place, name) for name in ("last", "training_ratio", "inference_ratio")]
            found.setdefault(row, {})[sparsity] = numbers
    theirs = read_yaml(TRANSCRIPT)
    names = {
        "static": "static_erk",
        "rigl_2020": "rigl_erk",
        "snfs": "snfs_erk",
        "gmp_original": "gmp",
        "rigl_2020_5x": "rigl_5x",
        "granet_s2s_2_5x": "granet_s2s_2.5x",
    }
    table3, table4, table5, table8 = (set(layout.row_ids) for layout in layouts(IMAGENET))
    for sparsity in (0.8, 0.9):
        in_print = theirs["table3_imagenet_resnet50"][f"s{sparsity}"]
        ours = {names.get(row, row): found[row][sparsity] for row in table3 if sparsity in found[row]}
        assert ours == in_print
    initial = {"granet": 0.0, "granet_s2s": 0.5, "granet_si06": 0.6, "granet_si07": 0.7, "granet_si08": 0.8}
    in_print = theirs["table4_initial_sparsity_resnet50_imagenet_s0.9"]
    assert {si: found[row][0.9] for row, si in initial.items()} == in_print["granet"]
    assert table4 == {*initial, "rigl_2020"}
    in_print = theirs["table5_extreme_resnet50_imagenet"]
    assert found["granet_s2s"] == in_print["granet_s2s"]
    # Tables 4 and 5 leave out the spread that Table 3 has
    rigl = {
        s: [top1[0] if isinstance(top1, list) else top1, *flops]
        for s, (top1, *flops) in found["rigl_2020"].items()
    }
    assert rigl == in_print["rigl"]
    assert rigl[0.9] == theirs["table4_initial_sparsity_resnet50_imagenet_s0.9"]["rigl"][0.9]
    assert table5 == {"rigl_2020", "granet_s2s"}
    in_print = theirs["table8_gmp_resnet50_imagenet"]
    assert (found["gmp_original"], found["gmp"]) == (in_print["gmp_of_ref13"], in_print["gmp_of_paper"])
    assert table8 == {"gmp_original", "gmp"}
    dense = theirs["table3_imagenet_resnet50"]["dense"]
    row, group = rows(IMAGENET)["dense"], Group("dense", "imagenet", "resnet50")
    assert printed(row, group, "training_dense").mean == dense["train_flops"]
    assert printed(row, group, "inference_dense").mean == dense["test_flops"]
    assert published(group, {}).mean == dense["top1"][0] / 100


def test_the_protocol_on_imagenet_is_that_of_table_7():
    in_print = protocol(IMAGENET)
    assert (in_print["update_interval"], in_print["pruning_epochs"]) == (4000, 30)
    assert in_print["train"]["lr_drops"] == [0.3, 0.6, 0.9]
