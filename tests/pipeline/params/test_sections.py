"""pipeline.params.sections: what texts mean in a run of a given length."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from granet.training.config import TrainConfig
from granet.types import UserError
from pipeline.params.checks import steps_per_epoch, validate
from pipeline.params.files import compose
from pipeline.params.sections import interval, method
from tests.helpers.parameters import checked, raw


def test_times_are_resolved_to_steps():
    changed = validate(raw(granet__tf="15ep", granet__t0="24it"))
    prune = changed.method("granet", 0.98, steps_per_epoch=12).prune
    assert (prune.t0, prune.tf) == (24, 180)


def test_tf_auto_is_the_first_learning_rate_drop_where_training_starts_sparse():
    changed = validate(raw(train__lr_drops=[0.4, 0.75]))
    from_sparse = changed.method("granet_s2s", 0.98, steps_per_epoch=12).prune
    from_dense = changed.method("granet", 0.98, steps_per_epoch=12).prune
    assert from_sparse.span(240, 10) == (0, 90)  # 0.4 * 240 = 96
    assert from_dense.span(240, 10) == (0, 160)  # 0.6875 * 240 = 165
    without_drops = validate(raw(train__lr_schedule="cosine"))
    prune = without_drops.method("granet_s2s", 0.98, steps_per_epoch=12).prune
    assert prune.span(240, 10) == (0, 120)  # half of the run, where the paper's drop is


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("auto", 4),  # 20 epochs of 12 steps hold 56 updates 4 steps apart: 240 // 56
        ("30it", 30),
        (30, 30),  # a bare number, as from the command line, means steps
        ("30", 30),
        ("1ep", 12),
        ("0.5ep", 6),
    ],
)
def test_intervals_are_resolved_to_steps(text, steps):
    changed = validate(raw(rigl__update_interval=text))
    assert changed.method("rigl", 0.98, steps_per_epoch=12).update_interval == steps


@pytest.mark.parametrize(("section", "updates"), [("acdc", 20), ("mest", 32)])
def test_an_interval_may_stand_for_as_many_updates_in_a_run_of_any_length(section, updates):
    for steps in (12, 120, 1200):
        assert validate(raw()).method(section, 0.98, steps).update_interval == 20 * steps // updates


@pytest.mark.parametrize(
    ("text", "steps_per_epoch"), [("0.04ep", 12), ("0.5ep", 1), ("0it", 12), ("0ep", 12)]
)
def test_an_interval_of_no_step_is_refused(text, steps_per_epoch):
    with pytest.raises(UserError, match=rf"rigl\.update_interval='{text}' is less than one optimizer step"):
        interval(text, steps_per_epoch, 1, "rigl.update_interval")


@pytest.mark.parametrize(
    ("section", "steps"),
    # as in each paper: GraNet's Table 7, RigL's own, DPF, SET and DSR once an epoch, Deep-R at every step
    [("granet", 1000), ("rigl_2020", 100), ("rigl_itop", 4000), ("dpf", 16), ("set", 352), ("deep_r", 1)],
)
def test_auto_is_the_methods_own_interval_in_a_run_of_the_papers_length(section, steps):
    paper = compose(["recipe=table2"])
    an_epoch = steps_per_epoch(paper, "cifar10")
    assert an_epoch == 352  # 45,000 images in batches of 128
    assert paper.method(section, 0.9, an_epoch).update_interval == steps


GRANET = {"method": "granet", "t0": "0it", "tf": "auto", "update_interval": "auto"}


@given(epochs=st.integers(1, 300), steps=st.integers(1, 400))
def test_auto_leaves_a_run_as_many_updates_as_the_papers_has(epochs, steps):
    auto = method("granet", GRANET, TrainConfig(epochs=epochs), 0.9, steps).update_interval
    assert auto is not None
    assert 1 <= auto <= 1000
    assert auto in (1, 1000) or epochs * steps // auto in range(56, 113)


def test_an_extension_moves_points_in_time_and_leaves_the_interval():
    short = {
        "train__epochs": 20,
        "granet__update_interval": "auto",
        "granet__t0": "12it",
        "granet__tf": "10ep",
    }
    plain = validate(raw(**short)).method("granet", 0.98, steps_per_epoch=12)
    longer = validate(raw(**short, granet__extend=2.5)).method("granet", 0.98, steps_per_epoch=12)
    assert (plain.prune.t0, plain.prune.tf, plain.update_interval) == (12, 120, 4)
    assert (longer.prune.t0, longer.prune.tf, longer.update_interval) == (30, 300, 4)


def test_extensions_of_all_runs_and_of_a_section_multiply():
    changed = validate(raw(train__epochs=20, train__extend=1.5, granet_s2s__extend=2))
    assert changed.train_config(None).total_epochs == 30
    assert changed.train_config("granet").total_epochs == 30
    assert changed.train_config("granet_s2s").total_epochs == 60
    prune = changed.method("granet_s2s", 0.98, steps_per_epoch=12).prune
    assert prune.tf == 360  # the first drop of lr of the extended run: half of 60 epochs of 12 steps


def test_the_last_step_of_an_extended_run_is_still_the_last():
    """11 epochs times 1.3 are 14.3, run as 14: tf is scaled by what is run, and never lies beyond the end."""
    changed = validate(raw(train__epochs=11, granet__extend=1.3, granet__tf="11ep"))
    assert changed.train_config("granet").total_epochs == 14
    assert changed.method("granet", 0.98, steps_per_epoch=12).prune.tf == 14 * 12


def test_the_dense_run_has_no_use_for_a_layers_sparsity():
    params = checked(train__layer_sparsity={"conv1": 0.5})
    assert params.method("dense", 0.0, 12).init is None
    assert params.method("gmp", 0.9, 12).init is not None
