from copy import deepcopy
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from granet.methods import METHODS
from granet.training.config import TrainConfig
from granet.types import UserError
from pipeline.params import files as params
from pipeline.params.checks import steps_per_epoch
from pipeline.params.sections import method


@cache
def quick():
    return params.compose(["recipe=quick"])


def raw(**changes):
    """The quick recipe as plain data, with dotted changes: raw(granet__si=0.5)."""
    data = deepcopy(quick().sections())
    for key, value in changes.items():
        section, _, name = key.partition("__")
        data[section] = {**data[section], name: value} if name else value
    return data


def test_the_committed_params_yaml_is_the_quick_recipe():
    assert params.FILE.read_text() == params.to_yaml(params.compose(["recipe=quick"]))


@pytest.mark.parametrize("recipe", sorted(path.stem for path in (params.CONF / "recipe").glob("*.yaml")))
def test_every_recipe_survives_a_round_trip(recipe, tmp_path):
    composed = params.compose([f"recipe={recipe}"])
    file = tmp_path / "params.yaml"
    file.write_text(params.to_yaml(composed))
    assert params.load(path=file) == composed


def test_a_recipe_takes_overrides():
    composed = params.compose(["recipe=ci", "grid.seeds=[0,1]", "granet.si=0.25", "train.epochs=3"])
    assert (composed.grid.seeds, composed.methods["granet"]["si"], composed.train.epochs) == ([0, 1], 0.25, 3)


def test_times_are_resolved_to_steps():
    changed = params.validate(raw(granet__tf="15ep", granet__t0="24it"))
    prune = changed.method("granet", 0.98, steps_per_epoch=12).prune
    assert prune is not None
    assert (prune.t0, prune.tf) == (24, 180)


def test_tf_auto_is_the_first_learning_rate_drop_where_training_starts_sparse():
    changed = params.validate(raw(train__lr_drops=[0.4, 0.75]))
    from_sparse = changed.method("granet_s2s", 0.98, steps_per_epoch=12).prune
    from_dense = changed.method("granet", 0.98, steps_per_epoch=12).prune
    assert from_sparse is not None
    assert from_dense is not None
    assert from_sparse.span(240, 10) == (0, 90)  # 0.4 * 240 = 96
    assert from_dense.span(240, 10) == (0, 160)  # 0.6875 * 240 = 165


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("auto", 4),  # 20 epochs of 12 steps hold 56 updates 4 steps apart: 240 // 56
        ("30it", 30),
        (30, 30),  # a bare number, as from the command line, means steps
        ("1ep", 12),
        ("0.5ep", 6),
    ],
)
def test_intervals_are_resolved_to_steps(text, interval):
    changed = params.validate(raw(rigl__update_interval=text))
    assert changed.method("rigl", 0.98, steps_per_epoch=12).update_interval == interval


def test_a_bare_interval_gets_its_unit():
    changed = params.validate(raw(rigl__update_interval=30))
    assert changed == params.validate(raw(rigl__update_interval="30it"))
    assert changed.methods["rigl"]["update_interval"] == "30it"


@pytest.mark.parametrize(
    ("section", "interval"),
    # as in each paper: GraNet's Table 7, RigL's own, DPF, SET and DSR once an epoch, Deep-R at every step
    [("granet", 1000), ("rigl_2020", 100), ("rigl_itop", 4000), ("dpf", 16), ("set", 352), ("deep_r", 1)],
)
def test_auto_is_the_methods_own_interval_in_a_run_of_the_papers_length(section, interval):
    paper = params.compose(["recipe=table2"])
    steps = steps_per_epoch(paper, "cifar10")
    assert steps == 352  # 45,000 images in batches of 128
    assert paper.method(section, 0.9, steps).update_interval == interval


GRANET = {"method": "granet", "t0": "0it", "tf": "auto", "update_interval": "auto"}


@given(epochs=st.integers(1, 300), steps=st.integers(1, 400))
def test_auto_leaves_a_run_as_many_updates_as_the_papers_has(epochs, steps):
    interval = method("granet", GRANET, TrainConfig(epochs=epochs), 0.9, steps).update_interval
    assert interval is not None
    assert 1 <= interval <= 1000
    assert interval in (1, 1000) or epochs * steps // interval in range(56, 113)


def test_an_extension_moves_points_in_time_and_leaves_the_interval():
    short = {
        "train__epochs": 20,
        "granet__update_interval": "auto",
        "granet__t0": "12it",
        "granet__tf": "10ep",
    }
    plain = params.validate(raw(**short)).method("granet", 0.98, steps_per_epoch=12)
    longer = params.validate(raw(**short, granet__extend=2.5)).method("granet", 0.98, steps_per_epoch=12)
    assert (plain.prune.t0, plain.prune.tf, plain.update_interval) == (12, 120, 4)
    assert (longer.prune.t0, longer.prune.tf, longer.update_interval) == (30, 300, 4)


def test_extensions_of_all_runs_and_of_a_section_multiply():
    changed = params.validate(raw(train__epochs=20, train__extend=1.5, granet_s2s__extend=2))
    assert changed.train_config(None).total_epochs == 30
    assert changed.train_config("granet").total_epochs == 30
    assert changed.train_config("granet_s2s").total_epochs == 60
    prune = changed.method("granet_s2s", 0.98, steps_per_epoch=12).prune
    assert prune.tf == 360  # the first drop of lr of the extended run: half of 60 epochs of 12 steps


def test_the_last_step_of_an_extended_run_is_still_the_last():
    """11 epochs times 1.3 are 14.3, run as 14: tf is scaled by what is run, and never lies beyond the end."""
    changed = params.validate(raw(train__epochs=11, granet__extend=1.3, granet__tf="11ep"))
    assert changed.train_config("granet").total_epochs == 14
    assert changed.method("granet", 0.98, steps_per_epoch=12).prune.tf == 14 * 12


def test_every_method_has_a_section_and_every_note_a_section():
    sections = quick().methods
    assert {section["method"] for section in sections.values()} == set(METHODS)
    assert set(params.section_texts()) <= set(sections)


def test_sections_stand_in_the_order_of_the_families():
    families = [quick().method(section, 0.98, 12).family for section in quick().methods]
    order = ["dense", "before_training", "sparse_to_sparse", "dense_to_sparse", "after_training"]
    assert families == sorted(families, key=order.index)


@pytest.mark.parametrize("key", ["methods", "after", "reinit", "retrain", "rewinds"])
def test_lists_that_may_be_empty(key):
    needs_masks = {"grid__reinit": [], "grid__retrain": []} if key == "methods" else {}
    assert getattr(params.validate(raw(**needs_masks | {f"grid__{key}": []})).grid, key) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"granet__sii": 0.5}, r"granet\.sii is an unknown key; did you mean si\?"),
        ({"grnet": {"si": 0.5}}, "grnet is an unknown section; did you mean granet"),
        ({"train__epoch": 3}, r"train\.epoch is an unknown key; did you mean epochs"),
        ({"train__epochs": "many"}, r"train\.epochs='many' is not valid"),
        ({"grid__seeds": ["a"]}, r"grid\.seeds=\['a'\] is not valid"),
        ({"train": 3}, "train=3 must be a section"),
        ({"granet__si": 0.99}, "granet at sparsity 0.98: si=0.99"),
        ({"grid__sparsities": [1.0]}, r"grid\.sparsities=1\.0 must lie in \(0, 1\)"),
        ({"grid__sparsities": [0.0]}, r"grid\.sparsities=0\.0.*dense stage"),
        ({"grid__methods": [[1]]}, r"grid\.methods=\[1\] is unknown"),
        ({"train__lr": "${foo}"}, r"train\.lr='\$\{foo\}' is not valid"),
        ({"granet__tf": None}, r"granet\.tf=None is not valid"),
        ({"data__val_size": 2000}, r"data\.val_size=2000 leaves none"),
        ({"grid__sparsities": [-0.1]}, r"grid\.sparsities=-0\.1"),
        ({"granet__tf": "30ep"}, "granet: tf=360 steps lies beyond the end of training"),
        ({"granet__tf": "soon"}, r"granet\.tf='soon' is no point in time"),
        ({"granet__update_interval": 0}, "update_interval=0 must be at least 1"),
        ({"granet__update_interval": 500}, "granet: update_interval=500: no mask update falls"),
        ({"granet__method": "magic"}, r"granet\.method='magic' is unknown"),
        ({"grid__methods": ["magic"]}, r"grid\.methods='magic' is unknown"),
        ({"grid__models": ["resnet21"]}, r"grid\.models='resnet21' is unknown; did you mean resnet20"),
        ({"grid__datasets": ["mnist"]}, r"grid\.datasets='mnist' is unknown"),
        ({"data__loader": "dali"}, r"data\.loader='dali' is unknown"),
        ({"granet__update_interval": "soon"}, r"granet\.update_interval='soon' is no interval: write"),
        ({"granet__update_interval": "-5"}, r"granet\.update_interval='-5' is no interval"),
        ({"snfs__update_interval": "often"}, r"snfs\.update_interval='often' is no interval"),
        ({"rigl__update_interval": 500}, r"rigl\.update_interval=500it: no mask update falls into the run"),
        ({"rigl__regenerate_until": 0.01}, r"rigl\.update_interval=10it: no mask update falls"),
        ({"granet__extend": 0.5}, r"granet\.extend=0\.5 must be at least 1"),
        ({"granet__extend": float("nan")}, r"granet\.extend=nan must be at least 1"),
        ({"train__extend": 0.99}, r"train\.extend=0\.99 must be at least 1"),
        ({"dense": {"method": "dense", "extend": 2.0}}, r"dense\.extend is an unknown key"),
        ({"grid__methods": ["sis"]}, r"grid\.reinit='gmp' is not in grid\.methods=\['sis'\]"),
        (
            {"grid__after": ["granet"]},
            r"grid\.after='granet': granet starts from scratch; move it to grid\.m",
        ),
        ({"grid__after": ["dense"]}, r"grid\.after='dense' is unknown"),
        ({"grid__reinit": ["set"]}, r"grid\.reinit='set' is not in grid\.methods=.* add it there or remove"),
        ({"grid__datasets": []}, r"grid\.datasets=\[\] is empty"),
        ({"grid__seeds": []}, r"grid\.seeds=\[\] is empty"),
        ({"grid__seeds": [0, 0]}, "names an entry twice"),
        ({"grid__seeds": [-1]}, r"grid\.seeds=-1"),
        ({"data__train_size": 0}, r"data\.train_size=0"),
        ({"train__precision": "fp8"}, r"train\.precision='fp8'"),
        ({"train__lr": 0.0}, r"train\.lr=0\.0 must be above 0"),
    ],
)
def test_bad_input_gets_one_line_that_names_the_key(changes, message):
    with pytest.raises(UserError, match=message) as error:
        params.validate(raw(**changes))
    assert "\n" not in str(error.value)


def test_an_after_training_method_is_sent_to_its_list():
    alone = {"grid__methods": ["sis"], "grid__reinit": [], "grid__retrain": []}
    with pytest.raises(
        UserError, match=r"grid\.methods='sis': sis starts from the trained dense network; move"
    ):
        params.validate(raw(**alone))


def test_a_section_outside_the_grid_may_have_any_length():
    assert params.validate(raw(snfs__update_interval="9999it")).methods["snfs"]["update_interval"] == "9999it"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recipe=table99"], "table99.*Recipes: ci, cifar, figure10, .*, table9$"),
        (["recipe=quick", "granet.s=1"], r"granet\.s is an unknown key"),
        (["recipe=quick", "nothing.at=1"], "nothing is an unknown section"),
        (["recipe=quick", "grid.seeds=[0"], r"'\[0' is not a YAML value"),
    ],
)
def test_bad_command_lines_are_refused(arguments, message):
    with pytest.raises(UserError, match=message) as error:
        params.compose(arguments)
    assert "\n" not in str(error.value)


def test_a_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(UserError, match="is missing"):
        params.load(path=tmp_path / "params.yaml")
    broken = tmp_path / "broken.yaml"
    for content, message in (
        (b"grid: [1,", "not valid YAML"),
        (b"\xff\xfe\xfa", "not valid YAML"),
        (b"", "no sections grid and train"),
        (b"- 1", "no sections grid and train"),
    ):
        broken.write_bytes(content)
        with pytest.raises(UserError, match=message):
            params.load(path=broken)


def test_writing_shows_what_changed_and_a_fault_leaves_the_file_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    params.main(["recipe=quick"])
    before = params.FILE.read_text()
    capsys.readouterr()
    params.main(["recipe=quick", "granet.si=0.25"])
    assert "+  si: 0.25" in capsys.readouterr().out
    changed = params.FILE.read_text()
    with pytest.raises(UserError):
        params.main(["recipe=quick", "granet.si=2.0"])
    assert params.FILE.read_text() == changed != before


def test_every_key_carries_its_meaning():
    lines = params.to_yaml(params.compose(["recipe=quick"])).splitlines()
    train = lines[lines.index("train:") + 1 :]
    assert all("#" in line for line in train[: train.index("")])
