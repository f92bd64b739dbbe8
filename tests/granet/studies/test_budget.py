"""Budgets by layer: a small network by hand, ResNet-50 against published numbers, sums that add up."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from granet.distributions import erk, uniform
from granet.models import build
from granet.studies.budget import LayerBudget, Outline, outline
from granet.types import UserError


@pytest.fixture(scope="module")
def resnet50() -> Outline:
    with torch.device("meta"):  # shapes alone decide
        return outline(build("resnet50", num_classes=1000), (3, 224, 224))


def small() -> Outline:
    """3x8x8 -> conv 3x3 -> 4x8x8 -> pool -> 4 -> 10."""
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)
    )
    return outline(net, (3, 8, 8))


def test_a_small_network_by_hand():
    budget = small().at({"0.weight": 0.75, "3.weight": 0.5})
    conv, pool, fc = budget.layers
    # 4 x 3 x 9 = 108 weights, a quarter of them 27, at 8 x 8 positions and 2 FLOPs: 13,824 and 3,456
    assert conv == LayerBudget("0.weight", (4, 3, 3, 3), 108, 27, 13_824, 3_456)
    assert pool == LayerBudget("1", (), 0, 0, 2 * 4 * 64, 2 * 4 * 64)
    assert fc == LayerBudget("3.weight", (10, 4), 40, 20, 80, 40)
    assert budget.backbone == LayerBudget("backbone", (), 108, 27, 13_824, 3_456)
    assert budget.overall == LayerBudget("overall", (), 148, 47, 13_824 + 512 + 80, 3_456 + 512 + 40)
    assert (conv.sparsity, pool.sparsity) == (0.75, 0.0)
    assert (conv.flops_ratio, pool.flops_ratio) == (0.25, 1.0)
    assert [row.name for row in budget.rows] == ["overall", "backbone", "0.weight", "1", "3.weight"]


def test_dense_resnet50(resnet50):
    dense = resnet50.at({})
    assert dense.overall.dense_flops == dense.overall.flops == 8_178_569_216  # the final pooling included
    assert dense.overall.parameters == 25_502_912  # 25,557,032 without BatchNorm (53,120) and biases (1,000)
    assert dense.backbone.parameters == 25_502_912 - 2048 * 1000
    assert dense.overall.sparsity == 0


def test_erk_at_90_percent_on_resnet50(resnet50):
    """Tables 3 to 5 of GraNet: 0.24 of the dense FLOPs. One layer stays dense."""
    budget = resnet50.at(erk(resnet50.shapes, 0.9))
    assert round(budget.overall.flops_ratio, 2) == 0.24
    assert [layer.name for layer in budget.layers if layer.shape and layer.sparsity == 0] == [
        "layer1.0.conv1.weight"
    ]
    assert budget.overall.sparsity == pytest.approx(0.9, abs=1e-6)


def test_erk_at_extreme_sparsity(resnet50):
    """Table 5 prints 0.11 at 0.965; counting gives 0.085."""
    assert round(resnet50.at(erk(resnet50.shapes, 0.965)).overall.flops_ratio, 3) == 0.085


def test_uniform_leaves_the_same_share_everywhere(resnet50):
    budget = resnet50.at(uniform(resnet50.shapes, 0.9))
    assert budget.backbone.flops_ratio == pytest.approx(0.1, abs=1e-7)
    assert {round(layer.sparsity, 3) for layer in budget.layers if layer.shape} == {0.9}


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_totals_are_the_sums_of_the_layers(conv, fc):
    budget = small().at({"0.weight": conv, "3.weight": fc})
    for key in ("parameters", "active", "dense_flops", "flops"):
        assert getattr(budget.overall, key) == sum(getattr(layer, key) for layer in budget.layers)
        assert getattr(budget.backbone, key) == getattr(budget.layers[0], key)
    assert all(0 <= layer.active <= layer.parameters for layer in budget.layers)
    assert all(layer.flops <= layer.dense_flops for layer in budget.layers)


def test_a_weight_that_two_layers_share_is_counted_once():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    net[1].weight = net[0].weight
    budget = outline(net, (4,)).at({})
    assert [layer.parameters for layer in budget.layers] == [16]
    assert [layer.flops for layer in budget.layers] == [64]


def test_a_stranger_is_named(resnet50):
    with pytest.raises(UserError, match=r"layer_sparsity: 'fc' is no weight of this model"):
        resnet50.at({"fc": 0.5})
