"""granet.method: axes that cannot work together are refused where the method is put together, in one line."""

import pytest

from granet import METHODS, UserError
from granet.common.granularity import filters
from granet.common.langevin import Langevin
from granet.criteria import gradient, magnitude, momentum, over_threshold, random, sign_flip
from granet.drops import Drop, initial_signs
from granet.inits.random import everything
from granet.method import ChannelPrune, Method, Prune, Regenerate
from granet.models import build
from granet.projection import GRADIENT, WEIGHT, Feedback, Forward, Masked, SoftThreshold
from granet.sparsifier.coupling import channel_groups

PRUNE = Prune(0.0, 0.9, 0, None, 0.5)
REGENERATE = Regenerate(Drop(magnitude), gradient)


def nothing(left, drop_scores, grow_scores, num_grown):
    return left


def method(**axes) -> Method:
    return Method("sparse_to_sparse", **{"init": everything, "update_interval": 10, **axes})


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"init": None, "prune": PRUNE}, "init=None has no masks"),
        ({"init": None, "regenerate": REGENERATE}, "init=None has no masks"),
        ({"init": None, "langevin": Langevin(0.1, 0.1)}, "init=None has no masks"),
        ({"init": None, "projection": WEIGHT}, "init=None has no masks"),
        ({"update_interval": None, "prune": PRUNE}, "need an update_interval, or rounds"),
        ({"update_interval": None, "regenerate": REGENERATE}, "need an update_interval, or rounds"),
        ({"update_interval": 0}, "update_interval=0 must be at least 1"),
        ({"rounds": 0}, "rounds=0 must be at least 1"),
        ({"prune": PRUNE, "restart": "lr"}, "restart belongs to rounds"),
        ({"regenerate": REGENERATE, "projection": Forward(Masked)}, "there is nothing to regenerate"),
        (
            {"prune": PRUNE, "regenerate": REGENERATE, "projection": Forward(Feedback, dense_gradient=True)},
            "there is nothing to regenerate",
        ),
        (
            {"prune": Prune(0, 0.9, 0, None, 0.5, criterion=over_threshold)},
            "needs thresholds that are learned",
        ),
        (
            {"prune": Prune(0, 0.9, 0, None, 0.5, criterion=over_threshold), "projection": Forward(Masked)},
            "needs thresholds that are learned",
        ),
        ({"regenerate": Regenerate(Drop(over_threshold), random)}, "needs thresholds that are learned"),
        (
            {"regenerate": Regenerate(Drop(magnitude), momentum)},
            "growth by momentum needs a momentum of all weights",
        ),
        ({"regenerate": Regenerate(Drop(magnitude), sign_flip)}, "only a Drop remembers"),
        ({"prune": Prune(0, 0.9, 0, None, 0.5, criterion=sign_flip)}, "only a Drop remembers"),
        ({"prune": PRUNE, "channels": ChannelPrune(0.5, 0.5)}, "channels go at regenerations"),
        ({"regenerate": Regenerate(Drop(magnitude), None, growth=nothing)}, "growth within a pattern"),
        (
            {
                "regenerate": Regenerate(Drop(magnitude), gradient, growth=nothing),
                "channels": ChannelPrune(0.5, 0.5),
            },
            "growth within a pattern",
        ),
    ],
)
def test_impossible_combinations_are_refused(axes, message):
    with pytest.raises(UserError, match=message) as error:
        method(**axes)
    assert "\n" not in str(error.value)


def test_filters_are_not_masked_in_the_forward():
    unit = filters(channel_groups(build("resnet20", num_classes=10)))
    with pytest.raises(UserError, match="not the BatchNorm of a filter"):
        method(granularity=unit, projection=Forward(Masked), prune=PRUNE)


def test_a_drop_by_signs_has_to_remember_them():
    with pytest.raises(UserError, match="write remember=initial_signs"):
        Drop(sign_flip)
    assert Drop(sign_flip, remember=initial_signs).criterion is sign_flip


@pytest.mark.parametrize("key", ["drop_fraction", "drop_fraction_final", "regenerate_until"])
def test_shares_lie_between_0_and_1(key):
    field = {"drop_fraction": "initial", "drop_fraction_final": "final", "regenerate_until": "until"}[key]
    with pytest.raises(UserError, match=rf"{key}=1\.5 must be in"):
        Regenerate(Drop(magnitude), random, **{field: 1.5})


def test_every_method_of_the_table_is_possible_and_says_what_it_projects():
    projected = {
        name: row(**{} if name == "dense" else {"sf": 0.75}).projection for name, row in METHODS.items()
    }
    refined, explored = (
        projected["sr_ste"],
        projected["topkast"],
    )  # of parametrizations with values of their own
    assert isinstance(refined, Forward) and refined.dense_gradient
    assert isinstance(explored, Forward) and not explored.dense_gradient
    elsewhere = {
        "snfs": WEIGHT,
        "gmp_original": Forward(Masked),
        "str": Forward(SoftThreshold),
        "dpf": Forward(Feedback, dense_gradient=True),
        "sr_ste": refined,
        "topkast": explored,
    }
    assert projected == dict.fromkeys(METHODS, GRADIENT) | elsewhere
