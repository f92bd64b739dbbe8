"""The recipes of the paper's CIFAR tables: what they ask for, and one of them end to end at a tiny size.

The images are CIFAR-10's where they are at hand, else digits written in the same layout.
"""

import json
import re
from math import prod

import pytest

from granet.sparsifier.clock import Clock
from pipeline.params import files as params
from pipeline.report.paper.numbers import IMAGENET as PAPER
from pipeline.report.paper.numbers import further, rows
from pipeline.report.paper.protocol import protocol
from tests.helpers import real_data
from tests.helpers.cifar_layout import write_cifar10
from tests.helpers.project import ROOT, Project

TABLES = ("table1", "table2", "table6", "table9", "figure4", "cifar")
ELEMENTS = ("element-0.0", "element-0.5", "element-0.9", "element-0.98")
FILTERS = ("filter-0.0", "filter-0.1", "filter-0.5", "filter-0.7")
CELL = "cifar10-resnet20"
TINY = (
    *("grid.models=[resnet20]", "grid.datasets=[cifar10]", "grid.sparsities=[0.9]", "grid.seeds=[0]"),
    *("data.train_size=256", "data.val_size=50", "data.test_size=100", "train.epochs=1"),
)
TABLE2 = ("snip", "grasp", "synflow", "deep_r", "set", "rigl", "granet_s2s", "str", "gmp", "granet")


def num_runs(recipe):
    """Stages of dvc.yaml by name, as many as the recipe's grid makes of their matrix."""
    grid = vars(params.compose([f"recipe={recipe}"]).grid)
    stages = params.read_yaml(ROOT / "dvc.yaml")["stages"]
    matrices = {name: stage["matrix"] for name, stage in stages.items() if "matrix" in stage}
    keys = {
        name: [re.fullmatch(r"\$\{grid\.(\w+)\}", v)[1] for v in m.values()] for name, m in matrices.items()
    }
    return {name: prod(len(grid[key]) for key in keys[name]) for name in keys if name != "prepare"}


@pytest.mark.parametrize(
    ("recipe", "runs"),
    # 2 models x 2 data sets x 3 seeds = 12 dense runs; times 3 sparsities = 36 runs per method
    [
        ("table1", {"dense": 18, "sparse": 0, "after": 0, "reinit": 0, "retrain": 0}),  # and ResNet-20
        ("table2", {"dense": 12, "sparse": 10 * 36, "after": 36, "reinit": 0, "retrain": 0}),
        ("table6", {"dense": 12, "sparse": 2 * 36, "after": 0, "reinit": 0, "retrain": 2 * 36}),
        ("table9", {"dense": 12, "sparse": 2 * 36, "after": 0, "reinit": 0, "retrain": 0}),
        ("figure4", {"dense": 12, "sparse": 2 * 36, "after": 0, "reinit": 2 * 36, "retrain": 0}),
        ("cifar", {"dense": 12, "sparse": 13 * 36, "after": 36, "reinit": 2 * 36, "retrain": 2 * 36}),
    ],
)
def test_a_recipe_composes_the_full_grid(recipe, runs):
    assert (
        num_runs(recipe)
        == dict.fromkeys(("pretrain", "plasticity", "export", "chain", "member", "soup"), 0) | runs
    )


@pytest.mark.parametrize(
    ("figures", "model", "networks", "scope"),
    [
        ((2, 3), "resnet20", ELEMENTS, "global"),
        ((5, 6), "resnet20", FILTERS, None),
        ((7, 8), "vgg19", FILTERS, None),
        ((9, 10), "resnet20", ELEMENTS, "uniform"),
        ((11, 12), "vgg19", ELEMENTS, "global"),
        ((13, 14), "vgg19", ELEMENTS, "uniform"),
    ],
)
def test_the_figures_of_pruning_plasticity(figures, model, networks, scope):
    """Section 3.4 and Appendix A; the first of a pair is plasticity, the second the final gap."""
    for figure, outcome in zip(figures, ("plasticity", "final"), strict=True):
        composed = params.compose([f"recipe=figure{figure}"])
        grid, study = composed.grid, composed.plasticity
        assert (grid.datasets, grid.models, grid.pretrain) == (["cifar10"], [model], list(networks))
        assert not (grid.methods or grid.after or grid.reinit or grid.retrain)
        assert study.outcomes == [outcome]
        assert scope is None or study.scopes == [scope]
        assert (study.rates, study.regenerate) == ([0.2, 0.5, 0.9, 0.98], [False, True])
        assert study.continued(composed.train) == 30


def test_the_recipe_of_the_whole_study_holds_every_figure():
    everything = params.compose(["recipe=plasticity"])
    for figure in (2, 3, *range(5, 15)):
        part = params.compose([f"recipe=figure{figure}"])
        assert (part.train, part.data) == (everything.train, everything.data)
        for key in ("models", "pretrain", "export", "seeds"):
            assert set(getattr(part.grid, key)) <= set(getattr(everything.grid, key))
        for key in ("epochs", "rates", "filter_rates", "scopes", "regenerate", "outcomes"):
            assert set(getattr(part.plasticity, key)) <= set(getattr(everything.plasticity, key))


@pytest.mark.parametrize("recipe", TABLES)
def test_recipes_train_alike_so_that_their_runs_are_shared(recipe):
    """Same sections, same training, same data: a cell of two recipes is one run."""
    one, all_ = params.compose([f"recipe={recipe}"]), params.compose(["recipe=cifar"])
    assert (one.methods, one.train, one.data) == (all_.methods, all_.train, all_.data)


def test_the_recipe_of_all_tables_holds_every_method_of_each():
    grid = params.compose(["recipe=cifar"]).grid
    for recipe in TABLES:
        part = params.compose([f"recipe={recipe}"]).grid
        for key in ("methods", "after", "reinit", "retrain", "rewinds", "sparsities", "seeds"):
            assert set(getattr(part, key)) <= set(getattr(grid, key))


@pytest.mark.parametrize("recipe", TABLES)
@pytest.mark.parametrize(
    "size", [("data.train_size=256", "train.epochs=1"), ("data.train_size=2000", "train.epochs=3")]
)
def test_a_recipe_runs_small(recipe, size):
    """Two settings are enough: no interval, no point in time has to be adapted."""
    assert params.compose([f"recipe={recipe}", *size, "grid.seeds=[0]"]).grid.seeds == [0]


IMAGENET = {
    "table3": (16, [0.8, 0.9]),
    "table4": (6, [0.9]),
    "table5": (2, [0.8, 0.9, 0.95, 0.965]),
    "table8": (2, [0.8, 0.9]),
    "figure15": (5, [0.9]),
}
"""ImageNet's recipes: number of sections, and their sparsities."""


@pytest.mark.parametrize("recipe", IMAGENET)
def test_an_imagenet_recipe_asks_for_its_table(recipe):
    composed, everything = params.compose([f"recipe={recipe}"]), params.compose(["recipe=imagenet"])
    grid = composed.grid
    assert (grid.datasets, grid.models, grid.seeds) == (["imagenet"], ["resnet50"], [0])
    assert (len(grid.methods), grid.sparsities) == IMAGENET[recipe]
    assert set(grid.methods) <= set(everything.grid.methods)
    assert not (grid.after or grid.reinit or grid.retrain or grid.rewinds or grid.pretrain)
    assert (composed.methods, composed.train, composed.data) == (
        everything.methods,
        everything.train,
        everything.data,
    )
    assert composed.tracking.experiment == recipe


def test_imagenet_is_trained_as_in_the_paper():
    composed = params.compose(["recipe=table4"])
    train = vars(composed.train)
    printed = protocol("imagenet")
    assert {key: train[key] for key in printed["train"]} == printed["train"]
    steps_per_epoch = 10_010  # 1,281,167 images, 128 at a time
    for section in ("granet", "granet_s2s", "granet_si06", "granet_si07", "granet_si08"):
        method = composed.method(section, 0.9, steps_per_epoch)
        # Table 7: masks change every 4000 steps, pruning ends at epoch 30, from dense and from sparse
        assert (method.update_interval, method.prune.tf) == (4000, 30 * steps_per_epoch)
    longer = params.compose(["recipe=table3"]).method("granet_s2s_2_5x", 0.9, steps_per_epoch)
    # of 250 epochs: the released run does not scale the end of pruning, as the CIFAR code does
    assert (longer.update_interval, longer.prune.tf) == (4000, 30 * steps_per_epoch)


@pytest.mark.parametrize("section", ["set_2020", "snfs_2020", "rigl_2020"])
def test_table_3_quotes_runs_of_the_rigl_paper(section):
    """Every 100 steps of 4096 images, drop fraction 0.3 to 0 along a cosine, until 75 % of the run."""
    method = params.compose(["recipe=table3"]).method(section, 0.9, 10_010)
    clock = Clock(method, 1_001_000)
    updates = [step for step in range(3200, 1_001_001, 3200) if clock.updates_at(step)]
    assert (updates[0], updates[1], updates[-1]) == (3200, 6400, 748_800)
    assert [round(clock.fraction(step), 4) for step in (0, 375_375, 750_750)] == [0.3, 0.15, 0.0]


@pytest.mark.parametrize("recipe", IMAGENET)
def test_the_sections_of_an_imagenet_recipe_are_rows_of_the_paper(recipe):
    composed = params.compose([f"recipe={recipe}"])
    assert set(composed.grid.methods) <= {
        row.find(composed) for row in rows(PAPER).values() if row.stage != "dense"
    }
    assert not further(composed)


@pytest.mark.parametrize("recipe", IMAGENET)
def test_an_imagenet_recipe_runs_small(recipe):
    """Three epochs of 200 images of 64 pixels: fixed intervals become auto, fixed ends of pruning come earlier."""
    sections = params.compose([f"recipe={recipe}"])
    intervals = [
        f"{name}.update_interval=auto"
        for name in sections.grid.methods
        if "update_interval" in sections.methods[name]
    ]
    small = ("data.train_size=200", "data.image_size=64", "train.epochs=3", "train.warmup_epochs=0")
    earlier = [f"{name}.tf=1ep" for name in ("granet", "gmp", "granet_s2s_2_5x")]
    composed = params.compose([f"recipe={recipe}", *small, *earlier, *intervals])
    assert composed.train.epochs == 3


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """What makes a recipe tiny, with the place of the images."""
    root = tmp_path_factory.mktemp("raw")
    real = real_data.write_cifar10(root)
    if not real:
        write_cifar10(root)
    return (*TINY, f"data.root={root}", f"data.verify={str(real).lower()}")


@pytest.fixture(scope="module")
def project(tmp_path_factory, tiny):
    """Table 2 on ResNet-20, run once."""
    project = Project(tmp_path_factory.mktemp("recipes"))
    project.params("recipe=table2", *tiny)
    project.commit("table 2")
    project.run("dvc", "repro")
    return project


@pytest.mark.soak
def test_table_2_fills_all_rows(project):
    metrics = json.loads((project.folder / "reports/metrics.json").read_text())[CELL]
    assert set(metrics) >= {"dense", *(f"{section}-0.9" for section in (*TABLE2, "sis"))}
    for stage, sections in (("sparse", TABLE2), ("after", ("sis",))):
        for section in sections:
            path = project.folder / f"runs/{stage}/{CELL}-{section}-0.9-0/metrics.json"
            assert json.loads(path.read_text())["sparsity"] == pytest.approx(0.9, abs=1e-5), section


@pytest.mark.soak
@pytest.mark.parametrize(
    ("recipe", "new"),
    [
        ("table2", set()),
        ("table1", {"report"}),
        (
            "table6",
            {f"sparse@{CELL}-granet_2x-0.9-0"}
            | {f"retrain@{CELL}-granet-0.9-0-{rewind}" for rewind in ("lth", "lrr")}
            | {"report"},
        ),
        ("figure4", {f"reinit@{CELL}-{method}-0.9-0" for method in ("gmp", "granet")} | {"report"}),
    ],
)
def test_work_that_tables_share_is_done_once(project, tiny, recipe, new):
    """After Table 2, other tables need what is theirs alone: the dense run and GraNet's are there."""
    before = (project.folder / "params.yaml").read_text()
    try:
        project.params(f"recipe={recipe}", *tiny)
        project.run("dvc", "repro", "-s", "code")  # another grid has other sections
        stale = project.stale()
        dry = project.run("dvc", "repro", "--dry").stdout
    finally:
        (project.folder / "params.yaml").write_text(before)
    assert stale == new
    assert set(re.findall(r"Running stage '([^']+)'", dry)) == new
