"""Other papers' numbers: the data file, what is marked in the report, and the page of docs/."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from docs.make import comparators as docs
from pipeline.params.files import compose
from pipeline.report.paper.comparators import NEAR, PROTOCOL, comparators, of, our_protocol
from pipeline.report.paper.numbers import records
from pipeline.report.results import read
from pipeline.report.sections.comparators import comparators as section
from pipeline.report.tables.comparators import beside_others
from pipeline.training.cell import Cell
from tests.helpers.runs import params_of, write_run

ROOT = Path(__file__).parents[3]
DENSE = Cell("dense", "imagenet", "resnet50", 0)
GRANET = Cell("sparse", "imagenet", "resnet50", 0, "granet", 0.9)


@pytest.fixture
def results(tmp_path):
    """GraNet and the dense network, one seed, with the paper's settings."""
    params = compose(["recipe=table4", "grid.methods=[granet]", "train.epochs=100"])
    for cell in (DENSE, GRANET):
        images = {"train": 1_281_167, "test": 50_000}
        write_run(
            tmp_path, params, cell, [0.74], num_images=images, training_ratio=0.25, inference_ratio=0.16
        )
    return read(params, tmp_path)


@pytest.mark.parametrize("one", comparators(), ids=lambda one: f"{one.method}-{one.network}-{one.sparsity}")
def test_every_number_is_one_and_has_a_source(one):
    assert 0 < float(one.accuracy) < 100
    assert 0 <= float(one.sparsity) < 1
    assert re.match(r"arXiv:\d{4}\.\d{5}$", one.source)
    assert re.search(r"github\.com/[\w-]+/[\w-]+ [0-9a-f]{10}, ", one.read)
    assert one.selection in ("", "last", "best test", "best validation")
    assert one.schedule in ("", "steps", "cosine")
    assert re.fullmatch(r"(\d+/\d+)?", one.split) and re.fullmatch(r"((reflect|zero) \d)?", one.padding)
    for field in (one.epochs, one.batch, one.seeds):
        assert field == "" or field.isdigit()
    for flops in (one.training_flops, one.inference_flops):
        assert re.fullmatch(r"([\d.]+(x| MMAC| GMAC|e\d+))?", flops)


def test_no_line_stands_twice():
    keys = [(one.paper, one.name, one.network, one.sparsity, one.label_smoothing) for one in comparators()]
    assert len(set(keys)) == len(keys)


def test_the_papers_that_were_asked_for_are_there():
    papers = {one.paper.split()[0] for one in comparators()}
    # RigL, STR, AC/DC, ITOP, MEST, Chase, SRigL, jaxpruner
    assert papers >= {"Evci", "Kusupati", "Peste", "Liu", "Yuan", "Yin", "Lasby", "Lee"}
    assert {one.dataset for one in comparators()} == {"imagenet", "cifar10"}


@pytest.mark.parametrize(
    ("name", "row", "sparsity"),
    [
        ("RigL (ERK)", "rigl_2020", 0.8),
        ("RigL (ERK)", "rigl_2020", 0.9),
        ("RigL 5x (ERK)", "rigl_2020_5x", 0.9),
    ],
)
def test_what_granets_paper_quotes_is_what_its_source_has(name, row, sparsity):
    """A second, independent reading: GraNet's Table 3, to its one decimal."""
    there = next(
        one
        for one in of("imagenet", "resnet50")
        if (one.name, float(one.sparsity), one.label_smoothing) == (name, sparsity, "0.1")
    )
    quoted = records()[row, "imagenet", "resnet50", sparsity, "last"].mean
    assert float(there.accuracy) == pytest.approx(100 * quoted, abs=0.1)


def test_a_field_differs_is_the_same_or_is_not_known(results):
    ours = our_protocol(results, "imagenet")
    assert ours == {
        **{"split": "1281167/0", "padding": "", "epochs": "100", "batch": "128", "schedule": "steps"},
        **{"label_smoothing": "0.1", "selection": "last", "seeds": "1"},
    }
    itop = next(one for one in of("imagenet", "resnet50") if one.method == "RigL-ITOP")
    assert itop.differs(ours) == {  # ours pads nothing
        **dict.fromkeys(("split", "selection", "seeds")),
        **dict.fromkeys(("epochs", "batch", "schedule", "label_smoothing"), False),
    }
    longer = replace(itop, epochs="200", selection="best test")
    assert [key for key, differs in longer.differs(ours).items() if differs] == ["epochs", "selection"]


def test_rows_stand_beside_ours_and_are_marked(results):
    table = beside_others(results, "imagenet", "resnet50")
    assert table is not None
    texts = [[line.label, *(number.text for number in line.numbers)] for line in table.lines]
    lines = {
        (*text[:3], line.numbers[1].note): text[3:] for text, line in zip(texts, table.lines, strict=True)
    }
    assert lines["GraNet (si = 0, tf 30ep)", "ours", "90", ""] == ["74.00", "0.250x", ""]
    # AC/DC: 100 epochs, as ours, of batches of 256 by a cosine; what was held out is not known
    assert lines["≠ AC/DC", "Peste 2021", "90", "global"] == ["75.03", "", "batch 256, cosine"]
    assert lines["≠ STR", "Kusupati 2020", "≠ 90.23", "learned"][0] == "74.31"
    assert lines["? RigL-ITOP", "Liu 2021b", "90", ""][0] == "73.8"
    itop = next(line for line in table.lines if line.label == "? RigL-ITOP")
    assert itop.numbers[-1].note == "not known: split, selection, seeds"
    assert {number.group for line in table.lines for number in line.numbers} == {
        None,
        DENSE.group.name,
        GRANET.group.name,
    }
    shown = {float(text[2].removeprefix("≠ ")) for text in texts}
    assert all(sparsity == 0 or abs(sparsity - 90) <= 100 * NEAR for sparsity in shown)


def test_a_network_that_no_paper_has_shows_nothing(tmp_path):
    params = params_of(datasets=["digits"], methods=["gmp"], reinit=[], retrain=[], rewinds=[])
    write_run(tmp_path, params, Cell("sparse", "digits", "resnet20", 0, "gmp", 0.98), [0.9])
    assert section(read(params, tmp_path)) is None


def test_the_section_says_where_each_was_read(results):
    shown = section(results)
    assert shown is not None
    (fold,) = [block for block in shown.blocks if type(block).__name__ == "Fold"]
    (sources,) = fold.blocks
    assert any(
        text.startswith("Peste et al. 2021, arXiv:2106.12379; read in github.com/IST-DASLab/ACDC")
        for text in sources
    )


def test_the_page_of_docs_is_made_of_them():
    text = (ROOT / "docs/comparators.md").read_text()
    assert text == docs.page()  # else: python -m docs.make
    assert sum(line.startswith("| ") for line in text.splitlines()) >= len(comparators())
    assert set(PROTOCOL) <= set(docs.COLUMNS)
