"""Layers that stay dense: which ones, and that the whole network has its sparsity all the same."""

from math import prod

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from granet.distributions import budget, by_layer, er, erk, global_, uniform, uniform_capped
from granet.drops import by_fraction
from granet.maskable import maskable_weights
from granet.methods.dense_layers import (
    DENSE_LAYERS,
    classifier,
    count_sparing,
    distribution_sparing,
    divided,
    first,
    none,
    rule_sparing,
    shortcuts,
)
from granet.models import build
from granet.types import Shapes

SHAPES: Shapes = {
    "conv1": (8, 3, 3, 3),
    "wide": (64, 64, 3, 3),
    "wide.shortcut": (64, 8, 1, 1),
    "fc": (10, 64),
}


def shapes_of(name: str) -> Shapes:
    with torch.device("meta"):
        weights = maskable_weights(build(name, num_classes=10))
    return {key: tuple(weight.shape) for key, weight in weights.items()}


@pytest.mark.parametrize(
    ("model", "opening", "num_projections"),
    [
        ("resnet20", "conv1", 2),
        ("resnet50", "conv1", 4),
        ("resnet50_cifar", "conv1", 4),
        ("vgg19", "features.0", 0),
    ],
)
def test_which_layers_of_the_models_stay_dense(model, opening, num_projections):
    shapes = shapes_of(model)
    assert none(shapes) == set()
    assert first(shapes) == {f"{opening}.weight"}
    assert classifier(shapes) == {"fc.weight"}
    projections = shortcuts(shapes) - first(shapes)
    assert len(projections) == num_projections
    assert all(name.endswith("downsample.0.weight") for name in projections)


def test_a_network_of_linear_layers_has_a_first_one_too():
    assert first({"a": (8, 4), "b": (2, 8)}) == {"a"}


sparsities, dense_layers = st.floats(0, 0.9999), st.sampled_from(sorted(DENSE_LAYERS))


@given(sparsities, dense_layers, st.sampled_from([uniform, er, erk]))
def test_the_others_make_up_for_it(sparsity, name, rule):
    layers = rule_sparing(rule, DENSE_LAYERS[name])(SHAPES, sparsity)
    assert list(layers) == list(SHAPES)
    active = sum((1 - layers[key]) * prod(shape) for key, shape in SHAPES.items())
    assert active == pytest.approx((1 - sparsity) * sum(map(prod, SHAPES.values())), abs=1)
    assert all(layers[key] == 0 for key in divided(DENSE_LAYERS[name], SHAPES, sparsity)[0])


@given(sparsities, dense_layers, st.sampled_from([global_, by_layer(uniform), by_layer(uniform_capped)]))
def test_a_pruning_leaves_the_exact_number_and_those_layers_whole(sparsity, name, distribution):
    scores = {key: torch.arange(float(prod(shape))).view(shape) for key, shape in SHAPES.items()}
    masks = {key: torch.ones(shape, dtype=torch.bool) for key, shape in SHAPES.items()}
    counts = distribution_sparing(distribution, DENSE_LAYERS[name])(scores, masks, sparsity)
    assert sum(counts.values()) == budget(SHAPES, sparsity)
    assert all(counts[key] == prod(SHAPES[key]) for key in divided(DENSE_LAYERS[name], SHAPES, sparsity)[0])


def test_with_none_everything_is_what_it_is_without():
    layers = rule_sparing(erk, none)(SHAPES, 0.9)
    assert layers == erk(SHAPES, 0.9)


def test_where_they_would_take_more_than_half_of_what_stays_they_are_pruned_too():
    shapes = {"conv1": (10, 1, 1, 1), "conv2": (90, 1, 1, 1)}
    assert divided(first, shapes, 0.8) == ({"conv1"}, 1 - 10 / 90)
    assert divided(first, shapes, 0.81) == (set(), 0.81)


def test_a_regeneration_leaves_them_alone_as_long_as_they_are_dense():
    masks = {"conv1": torch.ones(8, 1, 1, 1).bool(), "conv2": torch.ones(8, 1, 1, 1).bool()}
    scores = {name: torch.arange(8.0).view(8, 1, 1, 1) for name in masks}
    count = count_sparing(by_fraction, first)
    assert count(scores, masks, 0.5, {}) == ({"conv1": 0, "conv2": 4}, {})
    masks["conv1"][0] = False  # a network too small to spare it
    assert count(scores, masks, 0.5, {}) == ({"conv1": 4, "conv2": 4}, {})
