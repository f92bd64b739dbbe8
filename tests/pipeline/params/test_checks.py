"""pipeline.params.checks: what a run needs is checked, and nothing else; the grid is all of its runs."""

import pytest

from granet.types import UserError
from pipeline.code import OTHERS
from pipeline.params.checks import TAKEN, check_grid, check_run, validate
from pipeline.params.schema import SECTIONS
from tests.helpers.parameters import checked, quick, raw

CELL = {"dataset": "digits", "model": "resnet20"}
STUDY = {
    "grid__pretrain": ["element-0.9", "filter-0.5"],
    "grid__export": ["filter-0.5"],
    "plasticity__epochs": [4, 19],
}


@pytest.mark.parametrize("name", ["methods", "after", "reinit", "retrain", "rewinds"])
def test_lists_that_may_be_empty(name):
    needs_masks = {"grid__reinit": [], "grid__retrain": []} if name == "methods" else {}
    assert getattr(checked(**needs_masks | {f"grid__{name}": []}).grid, name) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"granet__si": 0.99}, "granet at sparsity 0.98: si=0.99"),
        ({"data__val_size": 2000}, r"data\.val_size=2000 leaves none"),
        ({"granet__tf": "30ep"}, "granet: tf=360 steps lies beyond the end of training"),
        ({"granet__update_interval": 500}, "granet: update_interval=500: no mask update falls"),
        (
            {"rigl__update_interval": "0.04ep"},
            r"rigl\.update_interval='0\.04ep' is less than one optimizer step",
        ),
        (
            {"rigl__update_interval": 500},
            r"rigl: update_interval=500: no mask update falls into the 240 steps",
        ),
        ({"rigl__regenerate_until": 0.01}, "rigl: update_interval=10: no mask update falls"),
        ({"grid__methods": ["magic"]}, r"grid\.methods='magic' is unknown"),
        ({"grid__methods": ["sis"]}, r"grid\.methods='sis': sis starts from the trained dense network; move"),
        ({"grid__methods": ["gmp"]}, r"grid\.reinit='granet' is not in grid\.methods=\['gmp'\], whose runs"),
        (
            {"grid__after": ["granet"]},
            r"grid\.after='granet': granet starts from scratch; move it to grid\.m",
        ),
        ({"grid__after": ["dense"]}, r"grid\.after='dense' is unknown"),
        ({"grid__reinit": ["set"]}, r"grid\.reinit='set' is not in grid\.methods=.* add it there or remove"),
        ({"grid__datasets": []}, r"grid\.datasets=\[\] is empty"),
        ({"grid__seeds": []}, r"grid\.seeds=\[\] is empty"),
        ({"grid__seeds": [0, 0]}, r"grid\.seeds=\[0, 0\] names an entry twice"),
        ({"grid__pretrain": ["element"]}, r"grid\.pretrain='element' is no network"),
        ({"grid__export": ["filter-0.5"]}, r"grid\.export='filter-0\.5' is not in grid\.pretrain=\[\]"),
        (
            STUDY | {"plasticity__epochs": [20]},
            r"plasticity\.epochs=\[20\]: 20 is not before the end of training",
        ),
        (
            {"grid__methods": ["gmp", "granet", "snfs"], "train__momentum": 0.0, "train__nesterov": False},
            r"train\.momentum=0\.0: snfs grows by the optimizer's momentum; set it above 0",
        ),
        (
            {"grid__methods": ["gmp", "granet", "str"], "train__kernels": "sparse"},
            r"train\.kernels='sparse': str masks in the forward, .*; write auto or dense",
        ),
        ({"train__exclude": ["hed"]}, r"train, model=resnet20: exclude='hed' names no weight of this model"),
        (
            {"train__include": ["fc"], "train__dense": ["last"]},
            "exclude and dense leave no layer to mask",
        ),
        (
            {"train__layer_sparsity": {"conv1": 0.5, "tail": 0.5}},
            "train, model=resnet20: layer_sparsity: 'tail' names no masked weight",
        ),
        ({"train__layer_sparsity": {"layer3": 0.5}}, "layer_sparsity: .* the nearest sparsity is 0"),
        ({"train__layer_sparsity": {"conv1": 1.5}}, r"layer_sparsity\['conv1'\]=1.5 must be in \[0, 1\]"),
        (
            {"grid__methods": ["gmp", "granet", "snfs"], "train__layer_sparsity": {"conv1": 0.5}},
            "snfs at sparsity 0.98: layer_sparsity: this method decides by itself",
        ),
        (STUDY | {"train__num_processes": 2}, r"train\.num_processes=2: the plasticity stage is one process"),
    ],
)
def test_a_grid_with_a_run_that_cannot_be_is_refused_in_one_line(changes, message):
    params = validate(raw(**changes))  # key by key there is nothing wrong with it
    with pytest.raises(UserError, match=message) as error:
        check_grid(params)
    assert "\n" not in str(error.value)


def test_a_section_outside_the_grid_may_have_any_length():
    assert checked(snfs__update_interval="9999it").methods["snfs"]["update_interval"] == "9999it"


FAULTY = raw(
    train__epochs=1,
    granet__update_interval=3,
    granet_s2s__update_interval=3,
    rigl__update_interval=3,
    **STUDY,
)
"""One epoch of 12 steps: GMP's interval of 10 leaves no update before tf, and plasticity.epochs are beyond the end."""


@pytest.mark.parametrize(
    "run",
    [
        {"stage": "dense"},
        {"stage": "sparse", "method": "granet", "sparsity": 0.98},
        {"stage": "sparse", "method": "rigl", "sparsity": 0.5},
        {"stage": "after", "method": "sis", "sparsity": 0.98},
        {"stage": "reinit", "method": "gmp", "sparsity": 0.98},  # it reads GMP's mask, and no interval
        {"stage": "export", "network": "filter-0.5"},
    ],
)
def test_a_run_is_not_refused_for_what_it_does_not_read(run):
    params = validate(FAULTY)
    check_run(params, **CELL, **run)
    with pytest.raises(UserError, match=r"^gmp: update_interval=10: no mask update falls between"):
        check_grid(params)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (
            {"stage": "sparse", "method": "gmp", "sparsity": 0.98},
            "^gmp: update_interval=10: no mask update falls",
        ),
        (
            {"stage": "pretrain", "network": "element-0.9"},
            r"plasticity\.epochs=\[4, 19\]: 4 is not before the end",
        ),
        ({"stage": "plasticity", "network": "element-0.9"}, r"plasticity\.epochs=\[4, 19\]: 4 is not before"),
    ],
)
def test_a_run_is_refused_for_what_it_reads(run, message):
    with pytest.raises(UserError, match=message):
        check_run(validate(FAULTY), **CELL, **run)


def test_a_network_of_the_study_is_refused_on_parameters_that_do_not_ask_for_the_study():
    """The quick recipe has 12 epochs, and the schema's default asks for networks pruned up to epoch 150."""
    with pytest.raises(
        UserError, match=r"20 is not before the end of training, train\.epochs=12; write epochs up to 11"
    ):
        check_run(quick(), **CELL, stage="pretrain", network="element-0.9")


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ({"stage": "dense", "dataset": "mnist"}, "dataset='mnist' is unknown"),
        ({"stage": "dense", "model": "resnet20b"}, r"model='resnet20b' is unknown; did you mean resnet20\?"),
        ({"stage": "dense", "seed": -1}, "seed=-1 must be at least 0: a run per seed"),
        ({"stage": "sparse", "method": "magic", "sparsity": 0.9}, "method='magic' is unknown"),
        ({"stage": "sparse", "method": "dense", "sparsity": 0.9}, "method='dense' is unknown"),
        ({"stage": "sparse", "method": "granet", "sparsity": 1.0}, r"sparsity=1\.0 must be in \(0, 1\)"),
        ({"stage": "sparse", "method": "sis", "sparsity": 0.9}, "method='sis' belongs to the after stage"),
        (
            {"stage": "after", "method": "granet", "sparsity": 0.9},
            "method='granet' belongs to the sparse stage",
        ),
        (
            {"stage": "reinit", "method": "sis", "sparsity": 0.9},
            "method='sis' belongs to the after stage; reinit",
        ),
        (
            {"stage": "retrain", "method": "granet", "sparsity": 0.9, "rewind": "ltr"},
            r"rewind='ltr' is unknown; did you mean l",
        ),
        ({"stage": "pretrain", "network": "channel-0.5"}, "network='channel-0.5' is no network"),
    ],
)
def test_a_cell_that_cannot_be_is_refused(run, message):
    with pytest.raises(UserError, match=message) as error:
        check_run(quick(), **CELL | run)
    assert "\n" not in str(error.value)


def test_layers_may_be_chosen_and_have_sparsities_of_their_own():
    params = checked(
        train__exclude=["fc"],
        train__dense=["first"],
        train__layer_sparsity={"layer1.0": 0.9, "layer3.*": 0.985},
    )
    assert params.train.choice.exclude == ("fc",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train__dense": ["middle"]}, r"train\.dense=\['middle'\] must be first or last"),
        (
            {"train__layer_sparsity": ["conv1"]},
            r"train\.layer_sparsity=\['conv1'\] must be a valid dictionary",
        ),
    ],
)
def test_a_choice_of_layers_of_another_kind_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        validate(raw(**changes))


@pytest.mark.parametrize("name", TAKEN)
def test_a_section_has_a_name_of_its_own(name):
    with pytest.raises(UserError, match=f"section {name} has the name of a stage"):
        validate(raw() | {name: {"method": "gmp"}})


def test_no_section_can_have_the_digest_of_another_stage():
    assert {*OTHERS} <= {*SECTIONS, *TAKEN}
