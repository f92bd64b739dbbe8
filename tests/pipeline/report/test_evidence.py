"""docs/results.csv and docs/results.md: rows against the runs written here, the page against the committed rows."""

import csv
import io
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from pandas.testing import assert_frame_equal

from granet.studies.plasticity import Branch
from granet.types import UserError
from pipeline.params.files import compose
from pipeline.report.evidence import branches, collect, page, rows
from pipeline.report.evidence.cautions import cautions
from pipeline.report.evidence.ledger import ledger, why_not
from pipeline.report.evidence.selection import Selection, select
from pipeline.report.evidence.tables import differences, kernels
from pipeline.report.paper.claims import claims
from pipeline.report.results import read
from pipeline.report.tables.plasticity import by_phase, studies
from pipeline.training.cell import Cell, cells
from tests.helpers.runs import write_branches, write_run

DOCS = Path(__file__).parents[3] / "docs"
GRANET = Cell("sparse", "cifar10", "resnet20", 0, "granet", 0.95)
GMP = replace(GRANET, method="gmp")
DENSE = Cell("dense", "cifar10", "resnet20", 0)
EPOCHS = 30
FURTHER, STUDY = (compose([f"recipe=evidence_{name}"]) for name in ("granet", "plasticity"))


@cache
def params(*overrides: str):
    return compose(["recipe=evidence", *overrides])


def written(root: Path, accuracies: dict[Cell, float], *overrides: str) -> list[rows.Row]:
    for cell, accuracy in accuracies.items():
        write_run(root, params(*overrides), cell, [accuracy - 0.1] * (EPOCHS - 1) + [accuracy])
    return [*rows.found(root)]


def seeds(cell: Cell, *accuracies: float) -> dict[Cell, float]:
    return {replace(cell, seed=seed): accuracy for seed, accuracy in enumerate(accuracies)}


@pytest.fixture(scope="module")
def selection(tmp_path_factory) -> Selection:
    root = tmp_path_factory.mktemp("evidence")
    runs = seeds(DENSE, 0.915) | seeds(GRANET, 0.905, 0.907, 0.906) | seeds(GMP, 0.901, 0.902, 0.903)
    runs |= seeds(replace(GRANET, sparsity=0.9), 0.91, 0.912) | seeds(replace(GMP, sparsity=0.9), 0.909)
    dense_kernels = written(root / "other", seeds(GRANET, 0.906, 0.905, 0.906), "train.kernels=dense")
    return select(params(), rows.merged(written(root / "runs", runs), dense_kernels))


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Selection:
    """The plasticity study; of seed 2 the network at 90 % has not run."""
    root = tmp_path_factory.mktemp("study")
    for cell in cells(STUDY):
        if cell.network is not None and (cell.network, cell.seed) != ("element-0.9", 2):
            if cell.stage == "plasticity":
                write_branches(root, STUDY, cell, change(cell.seed))
            else:
                write_run(root, STUDY, cell, [0.5, 0.6])
    written = branches.SHEET.text_of([*branches.found(root)])
    (root / "plasticity.csv").write_text(written)
    return select(STUDY, [*rows.found(root)], branches.SHEET.load(root / "plasticity.csv"))


def change(seed: int) -> Callable[[Branch], float | None]:
    """Lower with the rate and with each drop of the learning rate; the first seed's last branch diverges."""

    def of(branch: Branch) -> float | None:
        if seed == 0 and branch.name == "plasticity-21-global-0.98-pruned":
            return None
        drops = (branch.epoch >= 12) + (branch.epoch >= 18)
        return 0.01 * seed - 0.1 * branch.rate - (0.05 + 0.001 * seed) * drops + 0.02 * branch.regenerated

    return of


# The CSV


def test_a_row_has_what_the_run_has(tmp_path):
    (row,) = written(tmp_path, seeds(GRANET, 0.9))
    assert (row["run"], row["section"], row["sparsity"]) == (
        "sparse@cifar10-resnet20-granet-0.95-0",
        "granet",
        0.95,
    )
    assert (row["test_accuracy_last"], row["epochs"], row["kernels"]) == (0.9, EPOCHS, "auto")
    assert row["training_flops"] / row["training_flops_dense"] == 0.2
    assert (row["git_dirty"], row["experiment"]) == ("false", "evidence")
    assert list(row.keys() ^ rows.COLUMNS.keys()) == []


def test_accuracies_are_read_off_the_history_at_the_final_sparsity(tmp_path):
    """Runs of before November 30, 2026 chose among all epochs."""
    (row,) = written(tmp_path, seeds(GRANET, 0.9))
    (summary,) = tmp_path.rglob("summary.json")
    summary.write_text(summary.read_text().replace('"test_accuracy_last": 0.9', '"test_accuracy_last": 0.5'))
    assert [*rows.found(tmp_path)] == [row]


def test_a_table_keeps_its_headings_where_the_first_methods_have_not_run(selection, study):
    _, _, table, *_ = page.beside(selection.results, study.results)
    assert [line.heading for line in table.lines] == ["", "Sparsity 90 %", "", "Sparsity 95 %", ""]


def test_what_is_read_is_what_was_written(tmp_path):
    found = rows.merged(written(tmp_path / "runs", seeds(DENSE, 0.9) | seeds(GRANET, 0.8, 0.85)), [])
    text = rows.SHEET.text_of(found)
    (tmp_path / "r.csv").write_text(text)
    assert rows.SHEET.text_of(rows.SHEET.load(tmp_path / "r.csv")) == text
    assert next(csv.reader(io.StringIO(text))) == [*rows.COLUMNS]


def test_rows_stand_in_one_order_and_come_once(tmp_path):
    found = written(tmp_path, seeds(GRANET, 0.8, 0.85) | seeds(DENSE, 0.9))
    later = [row | {"test_accuracy_last": 0.5} for row in found]
    assert rows.merged(found, []) == rows.merged(found[::-1], found)
    assert rows.merged(found, later)[0]["run"] == "dense@cifar10-resnet20-0"
    assert {row["test_accuracy_last"] for row in rows.merged(found, later)} == {0.5}


def test_the_digest_is_of_what_decides_the_result(tmp_path):
    def digest(name: str, *overrides: str, cell: Cell = GRANET) -> str:
        (row,) = written(tmp_path / name, {cell: 0.9}, *overrides)
        return row["config"]

    plain = digest("plain")
    assert digest("elsewhere", "data.root=/elsewhere", "train.device=cpu", "data.num_workers=3") == plain
    others = {
        digest("kernels", "train.kernels=dense"),
        digest("section", "granet.drop_fraction=0.3"),
        digest("data", "data.val_size=1000"),
        digest("seed", cell=replace(GRANET, seed=1)),
    }
    assert len(others) == 4
    assert plain not in others


def test_the_command_adds_to_what_is_there(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="runs is no folder"):
        collect.main([])
    written(Path("runs"), seeds(DENSE, 0.9))
    collect.main([])
    written(Path("scratch"), seeds(DENSE, 0.91), "train.kernels=dense")
    collect.main(["scratch"])
    collect.main(["runs", "scratch"])
    assert capsys.readouterr().out.splitlines()[-1] == "docs/results.csv: 2 rows, 0 more than before"
    assert [row["kernels"] for row in rows.SHEET.load()] == ["auto", "dense"]


@pytest.mark.parametrize(("old", "new"), [("experiment,", ""), (",0.9,", ",much,")])
def test_a_file_of_another_version_is_one_line(old, new, tmp_path):
    path = tmp_path / "results.csv"
    path.write_text(rows.SHEET.text_of(written(tmp_path, seeds(DENSE, 0.9))).replace(old, new, 1))
    with pytest.raises(UserError, match="write it anew"):
        rows.SHEET.load(path)


def test_a_column_that_an_older_file_lacks_is_empty(tmp_path):
    text = rows.SHEET.text_of(written(tmp_path, seeds(DENSE, 0.9)))
    lines = [[*fields[:-6], *fields[-5:]] for fields in csv.reader(io.StringIO(text))]
    (tmp_path / "results.csv").write_text("".join(",".join(fields) + "\n" for fields in lines))
    (row,) = rows.SHEET.load(tmp_path / "results.csv")
    assert (row["granet"], row["test_accuracy_last"]) == (None, 0.9)


def test_branches_are_read_as_they_were_measured(tmp_path):
    """What the tables of the study are made of is the same from the CSV as from the runs."""
    wanted = [cell for cell in cells(STUDY) if cell.network == "element-0.0"]
    for cell in wanted:
        if cell.stage == "plasticity":
            write_branches(tmp_path, STUDY, cell, change(cell.seed))
        else:
            write_run(tmp_path, STUDY, cell, [0.5, 0.6])
    (from_runs,) = studies(read(STUDY, tmp_path))
    found = [*branches.found(tmp_path)]
    (tmp_path / "p.csv").write_text(branches.SHEET.text_of(found))
    loaded = branches.SHEET.load(tmp_path / "p.csv")
    assert loaded == found
    (from_rows,) = studies(select(STUDY, [*rows.found(tmp_path)], loaded).results)
    assert_frame_equal(by_phase(from_rows), by_phase(from_runs))
    assert (from_rows.drops, from_rows.continued) == (from_runs.drops, from_runs.continued) == ([12, 18], 4)


def test_new_branches_take_the_place_of_all_the_old_ones_of_their_run(tmp_path):
    (cell,) = [cell for cell in cells(STUDY) if cell.dvc_stage == "plasticity@cifar10-resnet20-element-0.9-1"]
    write_branches(tmp_path, STUDY, cell, change(1))
    old = [*branches.found(tmp_path)]
    assert branches.merged(old[:5], [row | {"change": 0.5} for row in old[10:12]]) == [
        row | {"change": 0.5} for row in old[10:12]
    ]
    other = [row | {"config": "another"} for row in old]
    assert len(branches.merged(old, other)) == 2 * len(old) == 48
    assert branches.merged(old[::-1], []) == branches.merged([], old)


def test_damaged_branches_and_two_configurations_are_one_line_each(tmp_path):
    (cell,) = [cell for cell in cells(STUDY) if cell.dvc_stage == "plasticity@cifar10-resnet20-element-0.9-1"]
    folder = write_branches(tmp_path, STUDY, cell, change(1))
    found = [*branches.found(tmp_path)]
    with pytest.raises(UserError, match="has two configurations"):
        select(STUDY, [], [*found, *(row | {"config": "another"} for row in found)])
    text = (folder / "branches.csv").read_text()
    for broken in ("", text.replace("0.8,", "much,"), text.replace("regenerated", "other", 1)):
        (folder / "branches.csv").write_text(broken)
        with pytest.raises(UserError, match=r"branches\.csv"):
            list(branches.found(tmp_path))


# The page


def test_a_cell_that_comes_twice_is_refused(tmp_path):
    once = written(tmp_path, seeds(GRANET, 0.9))
    with pytest.raises(UserError, match=r"line 3: sparse@.* comes twice"):
        select(params(), [*once, once[0] | {"config": "other"}])
    others = [one | {"kernels": "dense"} for one in once]
    with pytest.raises(UserError, match=r"line 4: sparse@.* comes twice"):
        select(params(), [*once, *others, *others])


def test_runs_of_another_length_or_experiment_are_not_in_it(tmp_path, selection):
    found = written(tmp_path, seeds(GRANET, 0.9))
    for change in ({"epochs": 160}, {"experiment": "compare"}):
        assert select(params(), [found[0] | change]).lines == {}
    assert len(selection.results.missing) == 66 - 10


def test_the_further_grid_stands_in_the_same_tables(tmp_path):
    again, longer = replace(GRANET, stage="reinit"), replace(GRANET, method="granet_2x")
    apart = replace(GRANET, method="granet_1000_steps")
    lth = replace(again, stage="retrain", rewind="lth")
    for cell, epochs in ((GRANET, 30), (again, 30), (lth, 30), (longer, 60), (apart, 30)):
        write_run(tmp_path, FURTHER, cell, [0.8] * epochs)
    found = [*rows.found(tmp_path)]
    both = select(params(), found, further=FURTHER)
    assert len(both.results.missing) == 66 + 21 - 5
    assert len(select(params(), found).lines) == 1
    text = page.text_of(both, select(STUDY, []), tmp_path)
    assert "**5 of 87 runs**" in text
    _, *table = text.partition("| *Masks trained again*")[2].splitlines()
    assert [row.split("|")[1].strip() for row in table[:4]] == [
        "GMP, reinitialised",
        "GraNet (si = 0), reinitialised",
        "GraNet (si = 0) + LTH",
        "GraNet (si = 0) + LRR",
    ]
    assert table[1].count("[80.00]") == 1
    looked_at = text.partition("### Not tested")[0]
    assert "Retraining GraNet's networks from their initial weights (LTH) brings nothing" in looked_at
    assert "GraNet 2x − GraNet (si = 0)" in text
    assert "GraNet (si = 0), granet_1000_steps − GraNet (si = 0) |" in text
    assert "after 6 steps in place of 1,000 (SET less often, whose own are 352 apart)" in text


def test_what_was_found_stands_first(selection, study, tmp_path):
    found = page.text_of(selection, study, tmp_path).partition('<a id="not">')[0]
    assert (
        "90 %, mean accuracies in order (n in brackets): GraNet (si = 0) 91.10 (2) and GMP 90.90 (1)."
        in found
    )
    assert "95 %, mean accuracies in order (n = 3): GraNet (si = 0) 90.60 and GMP 90.20." in found
    assert "- **In line with it**: Pruning plasticity falls as the learning rate drops" in found
    assert "- **Against it**: On CIFAR-10, GraNet from dense brings no gain on GMP at 95 %" in found
    first, undecided = (
        found.index("- **In line"),
        found.index("- **Undecided**: On CIFAR-10, GraNet from dense"),
    )
    assert first < undecided  # what speaks for the paper first, but nothing that was looked at is left out
    nothing = page.text_of(select(params(), []), select(STUDY, []), tmp_path).partition('<a id="not">')[0]
    assert "undecided" not in nothing


def test_what_the_runs_may_not_be_read_as_has_their_own_numbers(selection, study):
    text = " ".join(cautions(selection.results, study.results))
    assert "at 90 % and 95 % the one with most training FLOPs takes 1.0 and 1.0 times" in text
    assert "at 90 % and 95 % means are 0.4 to 0.6 and 0.9 to 1.3 points below the dense network's" in text
    assert "At 90 % and 95 % runs of one method deviate by 0.1 and 0.1 points" in text
    none = " ".join(cautions(select(params(), []).results, select(STUDY, []).results))
    assert "At any sparsity runs of one method deviate by 0.2 points" in none and "equal cost" not in none


def test_the_comparisons_are_tested_together_and_those_of_few_seeds_have_no_test(selection):
    note, table = differences(selection.results)
    assert note.text.startswith("The comparisons") and " 1 test, two-sided" in note.text
    by_place = {(line.heading, line.label): [number.text for number in line.numbers] for line in table.lines}
    few = by_place["ResNet-20 on CIFAR-10, 90 %", "GraNet (si = 0) − GMP"]
    assert few == ["+0.10", "", "", "none", "", ""]  # of seed 0, which both have
    # 0.4, 0.5 and 0.3 points: mean 0.4, error 0.1 / sqrt(3); 4.303 of these to either side; t = 6.93, p = 0.020
    tested = by_place["ResNet-20 on CIFAR-10, 95 %", "GraNet (si = 0) − GMP"]
    assert tested == ["+0.40", "+0.15 to +0.65", "3.2", "pairs", "p = 0.020", "p = 0.020"]


def test_kernels_are_compared_seed_by_seed(selection):
    # differences of -0.1, 0.2 and 0: mean 0.033, error 0.153 / sqrt(3), t = 0.378, p = 1 - t / sqrt(2 + t^2)
    _, table, made = kernels(selection)
    assert [text.partition(":")[0] for text in made] == ["`auto`", "`dense`"]
    (line,) = table.lines
    assert line.label == "GraNet (si = 0), 95 %"
    assert [number.text for number in line.numbers] == [
        "90.60 ± 0.10",
        "90.57 ± 0.06",
        "+0.03",
        "−0.35 to +0.41",
        "0.20",
        "p = 0.742",
    ]
    _, none = kernels(Selection(selection.results, selection.lines, {}))
    assert none.text == "**Not run yet.**"


def test_every_claim_stands_there_once_with_a_verdict_or_a_reason(selection, study):
    items = [
        item
        for block in ledger(selection.results, study.results)
        if isinstance(block, list)
        for item in block
    ]
    assert len(items) == len(claims())
    for claim in claims():
        assert sum(claim.text in item for item in items) == 1
    (gmp,) = [item for item in items if "GraNet from dense is more accurate than GMP at 90 %" in item]
    assert gmp.startswith("**other setting: ")
    (falls,) = [item for item in items if "as the learning rate drops, for models of every sparsity" in item]
    assert falls.startswith("**other setting: in line with it**")
    assert "Without runs: networks of 0.5 and 0.98 sparsity." in falls


@pytest.mark.parametrize(
    ("id", "reason"),
    [
        ("imagenet_rigl", "no run on ImageNet"),
        ("rigl_vgg19_98", "no run of VGG-19"),
        ("lth_no_gain", "no run of GraNet (si = 0) + LTH"),
        ("plasticity_falls", "no run of the plasticity study"),
        ("final_gap_grows", "the study has run without the outcome final"),
        ("dense_less_training", "no run on ImageNet; counted along the paper's schedule: supported"),
        ("imagenet_76", "a number of its own, compared with none; Table 3 has ours beside it"),
    ],
)
def test_the_reason_is_what_lacks(id, reason, selection, study):
    (claim,) = [one for one in claims() if one.id == id]
    none = select(STUDY, []).results
    assert why_not(claim, selection.results, study.results if id == "final_gap_grows" else none) == reason


def test_before_the_first_run_the_page_says_what_is_to_come(tmp_path):
    text = page.text_of(select(params(), []), select(STUDY, []), tmp_path)
    assert "**0 of 66 runs**" in text
    assert text.count("**Not run yet.**") == 1
    assert "No branch has run yet." in text
    assert "Masks are updated as often" not in text
    assert not (tmp_path / "pictures").exists()


def test_every_number_links_to_its_runs_and_these_to_their_lines(selection, study, tmp_path):
    text = page.text_of(selection, study, tmp_path)
    links, anchors = {*re.findall(r"\]\(#([\w.-]+)\)", text)}, {*re.findall(r'<a id="([\w.-]+)">', text)}
    assert links
    assert links <= anchors
    for name, line in (selection.lines | study.lines).items():
        assert f"`{name}` | {line} |" in text
    assert study.lines["plasticity@cifar10-resnet20-element-0.0-1"] == "26 to 49"
    for cell, (row, line) in selection.others.items():
        assert f"`{cell.dvc_stage}` | {line} | {100 * row['test_accuracy_last']:.2f} |" in text
    assert "[90.57 ± 0.06](#sparse-cifar10-resnet20-granet-0.95-other-kernels)" in text
    drawn = {*re.findall(r"\]\((pictures/[\w.-]+)\)", text)}
    assert len(drawn) == 2
    assert all((tmp_path / path).is_file() for path in drawn)
    assert (
        "after 6 steps in place of 1,000 (SET less often, whose own are 352 apart)" in text
    )  # 56 updates in 30 epochs of 12
    assert "(n = 2 of 3)" in text.partition("Every point of the figure")[2]


def test_the_committed_page_is_made_of_the_committed_rows(tmp_path):
    """To the byte; and what they are made of was committed."""
    found = rows.SHEET.load(DOCS / "results.csv")
    assert page.text_of(*page.committed(DOCS), tmp_path) == (DOCS / "results.md").read_text()
    assert rows.SHEET.text_of(rows.merged(found, [])) == (DOCS / "results.csv").read_text()
    measured = branches.SHEET.load(DOCS / "plasticity.csv")
    assert branches.SHEET.text_of(branches.merged(measured, [])) == (DOCS / "plasticity.csv").read_text()
    assert {row["git_dirty"] for row in (*found, *measured)} == {"false"}
    for drawn in (tmp_path / "pictures").glob("*"):
        assert drawn.read_bytes() == (DOCS / "pictures" / drawn.name).read_bytes()
