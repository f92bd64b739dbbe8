"""The ranking of methods: its order, its statistics against values worked out by hand, and the page that shows it."""

from dataclasses import replace

import pytest

from pipeline.params.files import compose
from pipeline.report import page as report
from pipeline.report.figures_ranked import beside, costs, floor, forest, undominated
from pipeline.report.names import by_family, heading
from pipeline.report.results import read
from pipeline.report.sections.ranking import leads, ranking
from pipeline.report.tables.ranking import FAMILY_COLORS, Contest, reordered, summary
from pipeline.report.words import FAMILY_NAMES
from pipeline.training.cell import Cell
from tests.helpers.page import Page
from tests.helpers.runs import params_of, write_run

GMP = Cell("sparse", "digits", "resnet20", 0, "gmp", 0.9)
ACCURACIES = {
    (None, None): (0.97, 0.98, 0.99),
    ("granet", 0.9): (0.94, 0.95, 0.96),
    ("gmp", 0.9): (0.93, 0.93, 0.93),
    ("snip", 0.9): (0.90, 0.91, 0.95),
    ("one_shot", 0.9): (0.92, 0.94, 0.93),
    ("granet", 0.98): (0.90, 0.91, 0.92),
    ("gmp", 0.98): (0.91, 0.920001, 0.929999),  # without any spread there is no test
    ("snip", 0.98): (0.10, 0.10, 0.10),
}
"""(method, sparsity) -> accuracy by seed; One-shot has not run at 98 %."""


@pytest.fixture(scope="module")
def params():
    return params_of(
        datasets=["digits"],
        methods=["gmp", "granet", "snip"],
        after=["one_shot"],
        sparsities=[0.9, 0.98],
        seeds=[0, 1, 2],
        reinit=[],
        retrain=[],
        rewinds=[],
    )


@pytest.fixture(scope="module")
def results(params, tmp_path_factory):
    root = tmp_path_factory.mktemp("ranking")
    for (method, sparsity), values in ACCURACIES.items():
        stage = "dense" if method is None else params.stage_of(method)
        for seed, value in enumerate(values):
            cell = replace(GMP, stage=stage, method=method, sparsity=sparsity, seed=seed)
            ratio = {"gmp": 0.4, "one_shot": 1.3}.get(method or "", 0.2)
            write_run(root, params, cell, [value], training_ratio=ratio)
    return read(params, root)


@pytest.fixture(scope="module")
def contest(results):
    return Contest(results, "digits", "resnet20")


def test_the_most_accurate_is_first_and_the_others_are_compared_with_it_seed_by_seed(contest):
    ranked = contest.ranking([0.9])
    assert [one.section for one in ranked] == ["granet", "gmp", "one_shot", "snip"]
    assert [one.place for one in ranked] == [1, 2, 3, 4]
    assert ranked[0].behind is None
    # GMP - GraNet: -1, -2, -3 points, mean -2, error 1 / sqrt(3); t of 2 degrees at 97.5 % is 4.3027
    behind = ranked[1].behind
    assert behind.test == "pairs"
    assert 100 * behind.difference.mean == pytest.approx(-2)
    assert [100 * end for end in behind.interval] == pytest.approx(
        [-2 - 4.3027 / 3**0.5, -2 + 4.3027 / 3**0.5], abs=1e-3
    )
    assert behind.p < behind.p_holm <= 3 * behind.p + 1e-12  # three methods behind the first


def test_places_are_those_that_the_intervals_leave_open(contest):
    ranked = {one.section: one for one in contest.ranking([0.98])}
    # GraNet is a point behind GMP at every seed; SNIP is 80 points behind both
    assert [one.section for one in contest.ranking([0.98])] == ["gmp", "granet", "snip"]
    assert {name: one.places for name, one in ranked.items()} == {
        "gmp": (1, 1),
        "granet": (2, 2),
        "snip": (3, 3),
    }
    # at 90 % GraNet's -2 +- 2.5 points of GMP leave either order open
    assert {one.section: one.places for one in contest.ranking([0.9])}["gmp"][0] == 1


def test_over_all_sparsities_a_seed_counts_with_its_mean_and_a_method_with_runs_at_each(contest):
    assert contest.sparsities == [0.9, 0.98]
    assert [one.section for one in contest.overall] == ["granet", "gmp", "snip"]
    assert contest.overall[0].values == pytest.approx({0: 0.92, 1: 0.93, 2: 0.94})
    assert contest.left_out == ["One-shot"]
    shown = reordered(contest.ranking([0.98]), contest.overall)
    assert [(one.section, one.place) for one in shown] == [("granet", 1), ("gmp", 2), ("snip", 3)]


def test_costs_include_the_dense_network_that_a_method_starts_from(contest):
    ranked = {one.section: one for one in contest.ranking([0.9])}
    assert (ranked["gmp"].training, ranked["gmp"].time) == pytest.approx((0.4, 1.0))
    assert (ranked["one_shot"].training, ranked["one_shot"].time) == pytest.approx(
        (1.3, 2.0)
    )  # FLOPs: in the run's own


def test_one_seed_has_no_interval(params, tmp_path):
    for method, value in (("gmp", 0.9), ("granet", 0.95)):
        write_run(tmp_path, params, replace(GMP, method=method), [value])
    first, second = Contest(read(params, tmp_path), "digits", "resnet20").overall
    assert (first.section, first.places, second.places) == ("granet", None, None)
    assert second.behind.interval is None
    assert second.time is None  # the dense network has not run
    assert summary([first, second])[1].startswith("too few seeds")


def test_a_method_alone_is_not_ranked(params, tmp_path):
    write_run(tmp_path, params, GMP, [0.9])
    assert ranking(read(params, tmp_path), tmp_path) is None


def test_two_methods_are_ranked_without_a_picture(params, tmp_path):
    for method in ("gmp", "granet"):
        write_run(tmp_path, params, replace(GMP, method=method), [0.9])
    shown = ranking(read(params, tmp_path), tmp_path / "figures")
    assert shown is not None
    assert {type(block).__name__ for block in shown.blocks} == {"Text", "Heading", "Table"}
    assert not (tmp_path / "figures").exists()


def test_the_page_ranks_and_draws(results, tmp_path):
    report.write(results, tmp_path)
    html = (tmp_path / "report.html").read_text()
    page = Page(html)
    assert {"ranking", "claims"} <= set(page.ids)
    row = next(row for row in page.rows if row[0] == "GMP" and "dense to sparse" in row)
    # pairs over the seeds' means: 0, -0.5, -1 points; error 0.5 / sqrt(3), t = 1.732
    assert row[1:] == [
        *("2 1 to 2", "dense to sparse", "92.50 ± 0.50 n = 3"),
        *("−0.50 [−1.74, +0.74] p = 0.225", "0.400", "1.00"),
    ]
    for picture in ("ranking", "training", "time"):
        data = (tmp_path / f"figures/{picture}-digits-resnet20.png").read_bytes()
        assert data.startswith(b"\x89PNG")
        assert f"figures/{picture}-digits-resnet20.png" in (tmp_path / "report.md").read_text()
    assert "GraNet (si = 0) has the highest mean accuracy</strong> over 90 %" in html.replace("\xa0", " ")
    assert "Not ranked, since they have not run at each of these sparsities: One-shot." in html


def test_pictures_are_the_same_every_time(contest, tmp_path):
    shown = {"All": contest.overall, "98": reordered(contest.ranking([0.98]), contest.overall)}
    for name in ("a", "b"):
        forest(shown, tmp_path / f"forest-{name}.png")
        costs(shown, "training", "FLOPs", 0.98, tmp_path / f"costs-{name}.png")
    for kind in ("forest", "costs"):
        assert (tmp_path / f"{kind}-a.png").read_bytes() == (tmp_path / f"{kind}-b.png").read_bytes()


def test_a_value_far_below_does_not_set_the_axis():
    assert floor([-1.0, -2.0, -1.5, -60.0, 0.0]) == -2.0
    assert floor([-1.0, -60.0]) == -60.0  # too few to know what is far


def test_the_front_is_of_those_that_none_beats_in_both():
    assert undominated([(0.2, 90.0), (0.2, 91.0), (0.1, 80.0), (0.5, 90.5)]) == [(0.1, 80.0), (0.2, 91.0)]


def test_numbers_stand_apart():
    places = beside([(0.5, 0.5), (0.51, 0.5), (0.5, 0.51)])
    assert len(set(places)) == 3
    assert all(abs(x - 0.5) < 0.05 and abs(y - 0.5) < 0.05 for x, y in places)


def test_every_family_has_a_colour():
    assert set(FAMILY_COLORS) == set(FAMILY_NAMES.values())


def test_the_recipe_has_every_family_three_sparsities_and_three_seeds_and_begins_with_its_ranking(tmp_path):
    params = compose(["recipe=compare"])
    grid = params.grid
    assert (grid.datasets, grid.models, grid.sparsities) == (["digits"], ["resnet20"], [0.9, 0.95, 0.98])
    assert len(grid.seeds) >= 3
    assert {heading(params, one) for one in by_family(params)} == set(FAMILY_NAMES.values()) - {"Dense"}
    assert not (grid.reinit or grid.retrain or grid.pretrain or grid.export)
    write_run(tmp_path, params, Cell("dense", "digits", "resnet20", 0), [0.9])
    assert leads(read(params, tmp_path))


def test_in_the_papers_settings_the_claims_come_first(tmp_path):
    params = compose(["recipe=table2", "grid.seeds=[0]"])
    write_run(
        tmp_path,
        params,
        Cell("dense", "cifar10", "vgg19", 0),
        [0.9],
        num_images={"train": 45_000, "val": 5_000, "test": 10_000},
    )
    assert not leads(read(params, tmp_path))
