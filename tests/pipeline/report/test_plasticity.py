"""The plasticity study and the smaller networks in the report: figures, tables and text, from runs written here."""

import json
import re
from dataclasses import replace
from functools import partial
from html import unescape

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from pipeline.drawing import STYLE
from pipeline.report import page as report
from pipeline.report.figures import DROP, draw_plasticity, plasticity
from pipeline.report.paper.claims import claims
from pipeline.report.results import headline, read
from pipeline.report.tables.contrasts import of_study
from pipeline.report.tables.latency import by_layer, latency
from pipeline.report.tables.plasticity import (
    RATE_COLORS,
    caption,
    departures,
    findings,
    phases,
    points,
    rate_colors,
    studies,
)
from pipeline.report.tables.smaller import size_text, smaller
from pipeline.training.cell import Cell, cells
from tests.helpers.page import Page
from tests.helpers.runs import study_of, write_branches, write_export, write_run

PRETRAIN = Cell("pretrain", "cifar10", "resnet20", 0, network="element-0.0")
PLASTICITY, EXPORT = replace(PRETRAIN, stage="plasticity"), replace(PRETRAIN, stage="export")
FEW = ("plasticity.epochs=[10,80,120]",)  # one at each learning rate: 160 epochs, drops at 80 and 120
IMAGES = {"train": 45_000, "val": 5_000, "test": 10_000}


def change(branch):
    """0.1 lower after each drop; regeneration gives 0.05 back, whatever the rate."""
    return -0.1 * ((branch.epoch >= 80) + (branch.epoch >= 120)) + 0.05 * branch.regenerated


def differing(change, seed, branch):
    """The same, with hundredths of a point more in the third seed: without any spread there is no test."""
    value = change(branch)
    return value and value + 1e-4 * (seed == 2) * (1 + branch.regenerated + (branch.epoch >= 80))


def made(root, params, change=change, skip=()):
    """Runs of all cells of the grid but those in ``skip``, read back."""
    for cell in cells(params):
        if cell in skip:
            continue
        if cell.stage == "plasticity":
            write_branches(root, params, cell, partial(differing, change, cell.seed))
        elif cell.stage == "export":
            write_export(root, cell)
        else:
            write_run(root, params, cell, [0.7, 0.8], num_images=IMAGES)
    return read(params, root)


def study(root, recipe, *overrides, change=change):
    """The first study of a recipe."""
    return studies(made(root, study_of(recipe, *FEW, *overrides), change))[0]


def drawing(found):
    """A study's figure, and its panels row by row."""
    figure = Figure()
    with matplotlib.rc_context(fname=STYLE):
        draw_plasticity(found, figure)
    return figure, figure.axes


def curves(ax):
    """The lines of a panel that are no rule: colour -> values."""
    lines = [line for line in ax.lines if line.get_marker() == "o"]
    return {to_hex(line.get_color()): list(line.get_ydata()) for line in lines}


def page(results, out):
    report.write(results, out)
    return unescape((out / "report.html").read_text())


# Runs


def test_a_study_has_its_cells_in_the_grid():
    params = study_of("figure5", "grid.seeds=[0,1]")
    stages = [cell.stage for cell in cells(params)]
    counts = {"dense": 2, "pretrain": 8, "plasticity": 8, "export": 6}
    assert {stage: stages.count(stage) for stage in dict.fromkeys(stages)} == counts
    assert "pretrain/cifar10-resnet20-filter-0.1-1" in [f"{c.stage}/{c.name}" for c in cells(params)]


def test_plasticity_runs_are_no_rows_but_counted(tmp_path):
    params = study_of("figure5", *FEW)
    gone = replace(PLASTICITY, network="filter-0.5"), replace(EXPORT, network="filter-0.7")
    results = made(tmp_path, params, skip=gone)
    assert set(results.runs["stage"]) == {"dense", "pretrain"}
    assert results.missing == list(gone)
    assert [len(results.finished(stage)) for stage in ("plasticity", "export")] == [3, 2]


@pytest.mark.parametrize("override", ["plasticity.epochs=[10,80]", "train.lr=0.05"])
def test_a_study_with_other_settings_is_outdated(tmp_path, override):
    params = study_of("figure2", *FEW, "grid.pretrain=[element-0.0]")
    made(tmp_path, params)
    write_branches(tmp_path, study_of("figure2", *FEW, override), PLASTICITY, change)
    assert read(params, tmp_path).outdated == [PLASTICITY]


def test_pretrained_networks_do_not_depend_on_when_they_are_pruned(tmp_path):
    made(tmp_path, study_of("figure2", *FEW, "grid.pretrain=[element-0.0]"))
    results = read(study_of("figure2", "grid.pretrain=[element-0.0]"), tmp_path)
    assert list(results.runs["stage"]) == ["dense", "pretrain"]
    assert results.outdated == [PLASTICITY]


@pytest.mark.parametrize("there", [True, False])
def test_an_export_is_as_old_as_its_network(tmp_path, there):
    params = study_of("figure5", *FEW, "grid.pretrain=[filter-0.5]", "grid.export=[filter-0.5]")
    network = replace(PRETRAIN, network="filter-0.5")
    made(tmp_path, params, skip=[network])
    if there:
        write_run(tmp_path, study_of("figure5", "train.lr=0.05"), network, [0.8])
    assert replace(network, stage="export") in read(params, tmp_path).outdated


def test_where_a_study_was_made_does_not_matter(tmp_path):
    params = study_of("figure2", *FEW, "grid.pretrain=[element-0.0]")
    elsewhere = replace(params, train=replace(params.train, device="cuda"))
    made(tmp_path, elsewhere)
    assert read(params, tmp_path).outdated == []


def test_headline_has_networks_and_mean_changes(tmp_path):
    params = study_of(
        "figure2", *FEW, "grid.pretrain=[element-0.9]", "grid.seeds=[0,1]", "plasticity.rates=[0.5]"
    )
    own = replace(PLASTICITY, network="element-0.9")
    made(tmp_path, params)
    write_branches(tmp_path, params, own, lambda branch: change(branch) - 0.2)
    # epochs 10, 80, 120: 0, -0.1, -0.2, mean -0.1; one of the two seeds is 0.2 lower: -0.2
    assert headline(read(params, tmp_path)) == {
        "cifar10-resnet20": {
            "dense": 0.8,
            "pretrain-element-0.9": 0.8,
            "plasticity-element-0.9-global-0.5-pruned": -0.2,
            "plasticity-element-0.9-global-0.5-regenerated": -0.15,
        }
    }


# Which figure


@pytest.mark.parametrize(
    ("number", "model", "network", "scope", "outcome"),
    [  # captions of the paper's figures
        (2, "resnet20", "element-0.5", "global", "plasticity"),
        (3, "resnet20", "element-0.5", "global", "final"),
        (5, "resnet20", "filter-0.5", "uniform", "plasticity"),
        (6, "resnet20", "filter-0.5", "uniform", "final"),
        (7, "vgg19", "filter-0.5", "uniform", "plasticity"),
        (8, "vgg19", "filter-0.5", "uniform", "final"),
        (9, "resnet20", "element-0.5", "uniform", "plasticity"),
        (10, "resnet20", "element-0.5", "uniform", "final"),
        (11, "vgg19", "element-0.5", "global", "plasticity"),
        (12, "vgg19", "element-0.5", "global", "final"),
        (13, "vgg19", "element-0.5", "uniform", "plasticity"),
        (14, "vgg19", "element-0.5", "uniform", "final"),
    ],
)
def test_figures_of_the_paper(tmp_path, number, model, network, scope, outcome):
    found = study(
        tmp_path,
        "figure2",
        f"grid.models=[{model}]",
        f"grid.pretrain=[{network}]",
        f"plasticity.scopes=[{scope}]",
        f"plasticity.outcomes=[{outcome}]",
    )
    assert found.in_paper
    assert found.title.startswith(f"Figure {number}: {'pruning' if outcome == 'plasticity' else 'final'} p")


def test_elsewhere_it_is_the_layout_of_a_figure(tmp_path):
    found = studies(made(tmp_path, study_of("plasticity_quick")))
    assert [s.title for s in found if s.granularity == "filter"] == [
        "Pruning plasticity, filters pruned layer by layer, ResNet-20 on digits "
        "(in the layout of Figure 5; no reproduction)",
        "Final performance gap, filters pruned layer by layer, ResNet-20 on digits "
        "(in the layout of Figure 6; no reproduction)",
    ]


def test_the_papers_figures_come_in_its_order(tmp_path):
    found = studies(made(tmp_path, study_of("plasticity", *FEW)))
    assert [s.figure for s in found] == [2, 3, *range(5, 15)]


def test_departures_are_named_where_the_figure_is_the_papers(tmp_path):
    params = study_of(
        "figure2", *FEW, "grid.pretrain=[element-0.0,element-0.9]", "plasticity.continued_epochs=5"
    )
    results = made(tmp_path, params)
    assert departures(results, studies(results)[0]) == [
        "5 instead of 30 epochs at the frozen learning rate",
        "pre-trained sparsities 0 and 0.9 instead of 0, 0.5, 0.9 and 0.98",
    ]
    whole = made(tmp_path / "whole", study_of("figure2"))
    assert departures(whole, studies(whole)[0]) == []
    digits = made(tmp_path / "digits", study_of("plasticity_quick"))
    assert departures(digits, studies(digits)[0]) == []


# What is drawn


def test_a_column_per_sparsity_and_a_row_without_and_one_with_regeneration(tmp_path):
    _, axes = drawing(study(tmp_path, "figure2"))
    assert [ax.get_title(loc="left") for ax in axes[:4]] == [
        f"Pre-trained sparsity {sparsity}" for sparsity in ("0", "0.5", "0.9", "0.98")
    ]
    assert len(axes) == 8
    assert axes[0].get_ylabel() == "without regeneration"
    assert axes[4].get_ylabel() == "with regeneration"
    assert [ax.get_xlabel() for ax in axes[4:]] == ["pruned after epoch"] * 4


def test_lines_have_the_papers_colours_and_our_changes_in_points(tmp_path):
    figure, axes = drawing(study(tmp_path, "figure2", change=lambda b: change(b) / 10 - b.rate / 100))
    found = curves(axes[0])
    assert list(found) == ["#ff8c1a", "#2f9e44", "#d6232a", "#7b3fb5"]  # orange, green, red, purple
    assert found[RATE_COLORS[0.5]] == pytest.approx([-0.5, -1.5, -2.5])
    assert curves(axes[4])[RATE_COLORS[0.5]] == pytest.approx([0.0, -1.0, -2.0])
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == [*(f"pruning rate {rate}" for rate in (0.2, 0.5, 0.9, 0.98)), "learning-rate drop"]
    assert len(figure.legends) == 1


def test_the_learning_rate_drops_are_red_and_zero_is_a_line(tmp_path):
    for ax in drawing(study(tmp_path, "figure2"))[1]:
        red = [line for line in ax.lines if to_hex(line.get_color()) == DROP]
        assert [list(line.get_xdata()) for line in red] == [[80, 80], [120, 120]]
        assert all(line.is_dashed() for line in red)
        assert [0, 0] in [list(line.get_ydata()) for line in ax.lines]
        assert ax.get_xlim() == (0, 160)


def test_other_rates_have_colours_of_their_own():
    found = rate_colors([0.1, 0.3, 0.5, 0.7])
    assert found[0.5] == RATE_COLORS[0.5]
    assert len(set(found.values()) | set(RATE_COLORS.values())) == 3 + 4


def test_filters_say_so(tmp_path):
    _, axes = drawing(study(tmp_path, "figure5"))
    assert axes[1].get_title(loc="left") == "Pre-trained filter sparsity 0.1"


@pytest.mark.parametrize(("way", "label"), [("false", "without regeneration"), ("true", "with regeneration")])
def test_one_row_one_network_one_epoch(tmp_path, way, label):
    found = study(
        tmp_path,
        "figure2",
        "grid.pretrain=[element-0.9]",
        "plasticity.epochs=[80]",
        f"plasticity.regenerate=[{way}]",
    )
    _, (ax,) = drawing(found)
    assert (ax.get_ylabel(), ax.get_title(loc="left")) == (label, "Pre-trained sparsity 0.9")
    assert all(len(values) == 1 for values in curves(ax).values())


def test_a_run_without_drops_has_no_red_line(tmp_path):
    figure, axes = drawing(study(tmp_path, "figure2", "train.lr_drops=[]"))
    assert DROP not in [to_hex(line.get_color()) for line in axes[0].lines]
    assert "learning-rate drop" not in [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_network_that_has_not_run_has_no_panel(tmp_path):
    gone = replace(PLASTICITY, network="element-0.5")
    found = studies(made(tmp_path, study_of("figure2", *FEW), skip=[gone]))[0]
    assert [ax.get_title(loc="left")[-3:] for ax in drawing(found)[1][:3]] == ["y 0", "0.9", ".98"]


def test_seeds_are_a_mean_with_a_band(tmp_path):
    params = study_of("figure2", *FEW, "grid.pretrain=[element-0.0]", "grid.seeds=[0,1]")
    made(tmp_path, params)
    write_branches(tmp_path, params, replace(PLASTICITY, seed=1), lambda branch: change(branch) + 0.02)
    found = studies(read(params, tmp_path))[0]
    ax = drawing(found)[1][0]
    assert curves(ax)[RATE_COLORS[0.2]] == pytest.approx([1, -9, -19])
    # std of 0 and 2 is the root of 2
    band = np.asarray(ax.collections[0].get_paths()[0].vertices)[:, 1]
    assert [band.min(), band.max()] == pytest.approx([-19 - 2**0.5, 1 + 2**0.5])
    assert "Mean over the seeds, with a band of one standard deviation." in caption(found)


def test_a_band_is_not_cut_off_where_the_axis_is_logarithmic(tmp_path):
    params = study_of("figure2", *FEW, "grid.pretrain=[element-0.0]", "grid.seeds=[0,1]")
    made(tmp_path, params, lambda branch: 0.0)
    write_branches(tmp_path, params, replace(PLASTICITY, seed=1), lambda branch: -0.8)
    ax = drawing(studies(read(params, tmp_path))[0])[1][0]
    # 0 and -80: mean -40, std 40 times the root of 2
    low, high = ax.get_ylim()
    assert low < -40 - 40 * 2**0.5 and high > -40 + 40 * 2**0.5


def test_one_seed_has_no_band(tmp_path):
    found = study(tmp_path, "figure2")
    assert not drawing(found)[1][0].collections
    assert "seeds" not in caption(found)


def test_diverged_branches_are_gaps_and_counted(tmp_path):
    def some(branch):
        return (
            None if (branch.epoch, branch.rate, branch.regenerated) == (80, 0.98, False) else change(branch)
        )

    found = study(tmp_path, "figure2", change=some)
    values = curves(drawing(found)[1][0])
    assert [value == value for value in values[RATE_COLORS[0.98]]] == [True, False, True]
    # 4 networks; of 3 epochs x 4 rates x 2 ways each, 1
    assert "4 of 96 branches diverged and are left out." in caption(found)
    assert "Diverged branches are in no mean, and did not recover." in findings(found)


def test_a_figure_is_drawn_where_all_diverged(tmp_path):
    found = study(tmp_path, "figure2", change=lambda branch: None)
    plasticity(found, tmp_path / "a.png")
    assert "96 of 96 branches diverged" in caption(found)


@pytest.mark.parametrize(("lowest", "scale"), [(-0.8, "symlog"), (-0.1, "linear")])
def test_a_collapse_leaves_the_others_readable(tmp_path, lowest, scale):
    found = study(tmp_path, "figure2", change=lambda b: lowest if b.rate == 0.98 else 0.01)
    figure, axes = drawing(found)
    figure.canvas.draw()
    assert {ax.get_yscale() for ax in axes} == {scale}
    assert len({ax.get_ylim() for ax in axes}) == 1  # all panels share the axis
    low, high = axes[0].get_ylim()
    assert low < 100 * lowest and high > 1
    assert ("logarithmic" in caption(found)) == (scale == "symlog")


def test_pictures_are_the_same_every_time(tmp_path):
    found = study(tmp_path, "figure2")
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    for path in (first, second):
        plasticity(found, path)
    assert first.read_bytes().startswith(b"\x89PNG")
    assert first.read_bytes() == second.read_bytes()


# Numbers


def test_every_point_stands_in_a_table(tmp_path):
    table = points(study(tmp_path, "figure2", "plasticity.rates=[0.5]"), num_seeds=1)
    assert table.columns == ["10", "80", "120"]
    rows = [(line.heading, line.label, [number.text for number in line.numbers]) for line in table.lines]
    assert rows[:4] == [
        ("Pre-trained sparsity 0", "accuracy before, %", ["80.00", "80.00", "80.00"]),
        ("", "rate 0.5", ["0.00", "−10.00", "−20.00"]),
        ("", "rate 0.5, regenerated", ["+5.00", "−5.00", "−15.00"]),
        ("Pre-trained sparsity 0.5", "accuracy before, %", ["80.00", "80.00", "80.00"]),
    ]


def test_the_final_gap_is_to_one_accuracy(tmp_path):
    line = points(study(tmp_path, "figure3"), num_seeds=1).lines[0]
    assert (line.label, line.numbers[0].text, line.numbers[0].span) == (
        "unpruned, final accuracy, %",
        "80.00",
        3,
    )


def test_tables_say_what_diverged_and_which_seeds_are_missing(tmp_path):
    params = study_of(
        "figure2", *FEW, "grid.pretrain=[element-0.0]", "grid.seeds=[0,1,2]", "plasticity.rates=[0.5]"
    )
    made(tmp_path, params, skip=[replace(PLASTICITY, seed=2)])
    write_branches(
        tmp_path,
        params,
        replace(PLASTICITY, seed=1),
        lambda branch: None if branch.epoch == 80 else change(branch),
    )
    write_branches(
        tmp_path, params, PLASTICITY, lambda branch: None if branch.epoch == 120 else change(branch)
    )
    found = studies(read(params, tmp_path))[0]
    table = points(found, num_seeds=3)
    assert table.lines[0].heading == "Pre-trained sparsity 0 (n = 2 of 3)"
    pruned = [(number.text, number.note) for number in table.lines[1].numbers]
    assert pruned == [("0.00 ± 0.00", ""), ("−10.00", "1 of 2 diverged"), ("−20.00", "1 of 2 diverged")]


def test_means_by_learning_rate_answer_the_papers_findings(tmp_path):
    found = study(tmp_path, "figure2", "plasticity.epochs=[10,79,80,110,120,150]", "plasticity.rates=[0.5]")
    table = phases(found)
    assert table.heads == [
        ("epochs 10 to 79, learning rate 0.1", 3),
        ("epochs 80 to 110, learning rate 0.01", 3),
        ("epochs 120 to 150, learning rate 0.001", 3),
    ]
    assert table.columns == ["without", "with", "difference"] * 3
    assert [number.text for number in table.lines[0].numbers] == [
        *("0.00", "+5.00", "+5.00"),
        *("−10.00", "−5.00", "+5.00"),
        *("−20.00", "−15.00", "+5.00"),
    ]
    # 4 networks x 2 epochs at each learning rate
    assert findings(found)[0] == (
        "Without regeneration: 0.00, recovered in 8 of 8 (epochs 10 to 79, learning rate 0.1); "
        "−10.00, recovered in 0 of 8 (epochs 80 to 110, learning rate 0.01); "
        "−20.00, recovered in 0 of 8 (epochs 120 to 150, learning rate 0.001)."
    )
    assert findings(found)[2] == (
        "Regeneration changes that by +5.00; by learning rate, in their order, +5.00, +5.00 and +5.00. "
        "It is better in 24 of 24 pairs of branches."
    )


def test_one_way_has_no_difference(tmp_path):
    found = study(tmp_path, "figure2", "plasticity.regenerate=[true]")
    assert phases(found).columns == ["with"] * 3
    assert len(findings(found)) == 1


# The page


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """figure5 with exports, all there: its page and its Markdown."""
    root = tmp_path_factory.mktemp("figure5")
    results = made(root / "runs", study_of("figure5", *FEW, "grid.seeds=[0,1]"))
    return page(results, root / "reports"), (root / "reports/report.md").read_text()


def test_a_study_alone_reads_as_one(full):
    text, markdown = full
    nav = re.findall(r'<a href="#(\w+)">', text[text.index("<nav") : text.index("</nav>")])
    assert (
        nav
        == re.findall(r'<h2 id="(\w+)">', text)
        == ["claims", "plasticity", "smaller", "three", "protocol", "runs"]
    )
    assert re.findall(r"^## (.*)", markdown, re.MULTILINE) == [
        "The paper's claims",
        "Pruning plasticity",
        "Smaller networks",
        "Three test accuracies",
        "Protocol and environment",
        "Runs",
    ]
    assert "Pruning plasticity of ResNet-20: 160 epochs at batch size 128, seeds 0, 1" in " ".join(
        text.split()
    )


def test_definitions_and_the_role_of_the_test_set(full):
    for text in full:
        plain = " ".join(re.sub(r"<[^>]*>|\*\*", "", text).split())
        assert "after 30 more epochs at the learning rate of the epoch of pruning, frozen" in plain
        assert "as many connections are grown as were pruned" in plain
        assert "Filters that are added up by residual connections are coupled" in plain
        assert "nothing was selected on the test set" in plain
        assert "The paper prints no numbers for its figures" in plain
        assert "final performance gap" not in plain.lower()  # not among this recipe's outcomes


def test_every_link_of_a_study_leads_to_its_runs(full):
    found = Page(full[0])
    anchors = {link.removeprefix("#") for link in found.links if link.startswith("#")}
    assert {"plasticity-cifar10-resnet20-filter-0.5", "export-cifar10-resnet20-filter-0.5"} < anchors
    assert anchors <= set(found.ids)
    assert len(found.ids) == len(set(found.ids))
    assert set(re.findall(r"\]\(#(.*?)\)", full[1])) <= set(re.findall(r'<a id="(.*?)">', full[1]))
    rows = {row[0]: row for row in found.rows}
    assert rows["plasticity@cifar10-resnet20-filter-0.5-1"][3] == "1 min 12 s"  # 24 branches of 3 s
    assert rows["export@cifar10-resnet20-filter-0.5-1"][1:] == ["", "", "", "not tracked"]
    assert rows["ResNet-20 on CIFAR-10 · Pre-trained, filter sparsity 0.5, pruned once"]


def test_networks_have_their_three_accuracies(full):
    found = Page(full[0])
    # Table 1, ResNet-20: 92.41 ± 0.04
    assert found.row("Dense")[:4] == ["80.00 ± 0.00 n = 2", "", "80.00 ± 0.00 n = 2", "92.41 ± 0.04"]
    assert found.row("Pre-trained, filter sparsity 0.5")[0] == "80.00 ± 0.00 n = 2"


def test_markdown_tables_and_pictures_are_whole(full):
    markdown = full[1]
    tables = re.findall(r"(?:^\|.*\n)+", markdown, re.MULTILINE)
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1, table
    assert re.findall(r"!\[.*?\]\((.*?)\)", markdown) == [
        "figures/plasticity-cifar10-resnet20-filter-uniform.png"
    ]


def test_the_time_of_a_study_is_a_fact(full):
    # 4 networks x 2 seeds, each 24 branches of 3 s
    assert "9 min 36 s for 192 branches of 8 networks" in full[0]


def test_missing_branches_are_in_the_warning(tmp_path):
    gone = [replace(PLASTICITY, network=network) for network in ("element-0.5", "element-0.9")]
    text = page(made(tmp_path / "runs", study_of("figure2", *FEW), skip=gone), tmp_path / "out")
    # a dense run, 4 networks and 4 plasticity runs
    assert "7 of 9 runs of the grid are in this report" in text
    assert "<code>plasticity@cifar10-resnet20-element-0.5-0</code>" in text


def test_a_study_without_a_branch_says_so(tmp_path):
    params = study_of("figure2", *FEW)
    gone = [cell for cell in cells(params) if cell.stage == "plasticity"]
    text = page(made(tmp_path / "runs", params, skip=gone), tmp_path / "out")
    assert "No branch has run yet." in text
    assert "<figure>" not in text


def test_beside_methods_the_study_is_a_section_more(tmp_path):
    params = study_of("quick", "grid.seeds=[0]", "grid.pretrain=[element-0.9]", "plasticity.epochs=[4]")
    text = page(made(tmp_path / "runs", params), tmp_path / "out")
    ids = re.findall(r'<h2 id="(\w+)">', text)
    assert ids[0] == "claims"
    assert ids.index("figure4") < ids.index("plasticity") < ids.index("accuracy")
    assert "smaller" not in ids
    assert Page(text).row("Pre-trained, sparsity 0.9")[0] == "80.00 n = 1"


def test_without_networks_nothing_is_said_of_them(tmp_path):
    text = page(made(tmp_path / "runs", study_of("quick")), tmp_path / "out")
    claims, rest = text.split('<h2 id="', 2)[1:]
    assert claims.startswith("claims")  # they name what is not tested
    assert "lasticity" not in rest
    assert "maller networks" not in text


def test_metrics_are_finite_numbers(tmp_path):
    def half(branch):
        return None if branch.regenerated else change(branch)

    page(made(tmp_path / "runs", study_of("figure2", *FEW), half), tmp_path / "out")
    found = json.loads((tmp_path / "out/metrics.json").read_text())["cifar10-resnet20"]
    assert found["plasticity-element-0.9-global-0.98-pruned"] == -0.1
    assert "plasticity-element-0.9-global-0.98-regenerated" not in found


# Smaller networks


def test_smaller_networks_before_and_after(full):
    row = next(row[1:] for row in Page(full[0]).rows if row[0] == "Filter sparsity 0.5" and len(row) == 16)
    assert row == [
        *("1,000", "500.0", "2.00 ×"),
        *("80.0", "40.0", "2.00 ×"),
        *("4.00", "2.50", "1.60 ×"),
        *("160.0", "100.0", "1.60 ×"),
        *("4 MB", "1 MB", "4.00 ×"),
    ]
    text = " ".join(full[0].split())
    assert "Channels that nothing depends on can be cut out" in text
    assert "on x86_64 CPU, 2 threads, PyTorch 2.15.0." in text
    assert "differ by at most 2.5e-06" in text
    assert "Filter sparsity 0.5: 448 of 896 channels (448 always zero);" in text  # two seeds


def test_where_nothing_is_cut_there_is_no_second_latency(tmp_path):
    params = study_of("figure2", *FEW, "grid.pretrain=[element-0.0]", "grid.export=[element-0.0]")
    made(tmp_path, params)
    write_export(tmp_path, EXPORT, times_smaller=1.0)
    table, facts = smaller(read(params, tmp_path))
    assert [number.text for number in table.lines[0].numbers[6:12]] == [""] * 6
    assert facts["networks"] == "Sparsity 0"
    assert facts["channels"] == "Sparsity 0: 0 of 448 channels"


def test_latencies_stand_beside_each_other(tmp_path):
    params = study_of("figure2", *FEW, "grid.pretrain=[element-0.0]", "grid.export=[element-0.0]")
    results = made(tmp_path / "runs", params)
    write_export(tmp_path / "runs", EXPORT, times_smaller=1.0)
    results = read(params, tmp_path / "runs")
    table = latency(results)
    assert [head for head, _ in table.heads] == ["fp32", "bf16", "sparse bf16"]
    rows = [(line.label, [(n.text, n.note) for n in line.numbers]) for line in table.lines]
    assert rows[1] == (
        "Sparsity 0, batch 128",
        [("160.0", "0.50 ×"), ("80.0", "1.00 ×"), ("20.0", "4.00 ×")],
    )
    (fold,) = by_layer(results)
    assert fold.summary == "Sparsity 0, each convolution at batch 16"
    assert fold.blocks[0].lines[0].label == "conv1"
    text = page(results, tmp_path / "out")
    assert "Latency of the masked networks" in text and "4.00 ×" in text


def test_nothing_exported_is_no_section(tmp_path):
    results = made(tmp_path / "runs", study_of("figure2", *FEW))
    assert 'id="smaller"' not in page(results, tmp_path / "out")


def test_sizes_in_bytes():
    assert [size_text(size) for size in (999, 1000, 999_600)] == ["999 B", "1 kB", "1 MB"]


# The claims about the study

STUDY = {claim.id: claim for claim in claims() if claim.study}
ENDS = {
    "plasticity_falls": 0.2,
    "plasticity_first_drop": 0.1,
    "plasticity_second_drop": 0.1,
    "plasticity_falls_regenerated": 0.2,
    "plasticity_rate": 0.078,
    "regeneration_over_pruned": 0.039,
}


def claims_of(root, recipe, *overrides, change=change):
    results = made(root, study_of(recipe, *FEW, *overrides), change)
    return {name: of_study(claim, results) for name, claim in STUDY.items()}


def test_one_seed_points_the_claims_way_and_decides_nothing(tmp_path):
    found = claims_of(tmp_path, "figure2")
    falls, helps = found["plasticity_falls"], found["regeneration_helps"]
    # 4 networks, and 4 pruning rates of each
    assert (len(falls.in_paper), len(helps.in_paper)) == (4, 16)
    assert {one.outcome for one in falls.in_paper + helps.in_paper} == {"few"}
    assert all(one.leans for one in falls.in_paper + helps.in_paper)
    assert falls.verdict == helps.verdict == "undecided"
    assert falls.in_paper[0].difference.mean == pytest.approx(0.2)  # two drops
    assert helps.in_paper[0].difference.mean == pytest.approx(0.05)
    assert [side.text for side in helps.in_paper[0].sides] == ["−5.00", "−10.00"]
    assert helps.in_paper[0].place == "ResNet-20 on CIFAR-10, as Figure 2, 0 sparse, rate 0.2"
    assert found["final_gap_grows"].verdict == "not tested"  # Figure 3


@pytest.mark.parametrize("diverges", [False, True])
def test_what_lies_at_two_ends_is_compared_network_by_network(tmp_path, diverges):
    """Each rate a tenth lower per unit, each drop a tenth, and regeneration adds the rate's twentieth.

    Where the lowest of the late branches diverge, those that they would be compared with are left out as well.
    """

    def changed(branch):
        if diverges and not branch.regenerated and branch.rate == 0.98 and branch.epoch >= 120:
            return None
        drops = (branch.epoch >= 80) + (branch.epoch >= 120)
        return -0.1 * drops - 0.1 * branch.rate + 0.05 * branch.rate * branch.regenerated

    found = claims_of(tmp_path, "figure2", change=changed)
    means = {name: [one.difference.mean for one in found[name].in_paper] for name in ENDS}
    # rates 0.2 to 0.98, two drops
    assert means == {name: pytest.approx([expected] * 4) for name, expected in ENDS.items()}


def test_three_seeds_decide(tmp_path):
    found = claims_of(tmp_path, "figure2", "grid.seeds=[0,1,2]")
    assert found["plasticity_falls"].verdict == found["regeneration_helps"].verdict == "supported"


def test_other_studies_are_judged_apart(tmp_path):
    found = claims_of(tmp_path, "figure2", "grid.seeds=[0,1,2]", "plasticity.continued_epochs=3")
    assert found["regeneration_helps"].in_paper == []
    assert found["regeneration_helps"].verdict_elsewhere == "supported"


def test_a_pair_with_a_diverged_branch_is_in_no_comparison(tmp_path):
    def lost(branch):
        return None if branch.regenerated and branch.rate == 0.98 else change(branch)

    found = claims_of(tmp_path, "figure2", change=lost)["regeneration_helps"]
    assert len(found.in_paper) == 12


def test_a_network_recovers_where_a_loss_is_ruled_out(tmp_path):
    """Rates up to 0.5 gain a twentieth of a point, others lose one; the second drop takes ten."""

    def changed(branch):
        return 0.0005 - 0.01 * (branch.rate > 0.5) - 0.1 * (branch.epoch >= 120)

    found = claims_of(tmp_path, "figure2", "grid.seeds=[0,1,2]", change=changed)
    names = ("early", "later", "low", "high", "second_drop")
    by_name = {(one.claim.study or ("", ""))[1]: one.in_paper for one in found.values() if one.in_paper}
    places = {name: by_name[name] for name in names}
    # 4 networks; 3 rates below 0.98, 2 above 0.5, 1, 1 and all 4
    assert {name: len(each) for name, each in places.items()} == dict(
        zip(names, (12, 8, 4, 4, 16), strict=True)
    )
    assert found["recovers_early"].verdict == "undecided"  # 0.9 is among its rates
    assert [one.outcome for one in places["early"]] == ["for", "for", "against"] * 4
    assert found["recovers_low"].verdict == "contradicted"  # for after the second drop none recovers
    assert found["suffers_second_drop"].verdict == found["suffers_high"].verdict == "supported"
    low = places["low"][0]
    assert [side.name for side in low.sides] == ["after", "before"]
    assert low.difference.mean == pytest.approx(0.0005 - 0.1 / 3, abs=1e-4)
