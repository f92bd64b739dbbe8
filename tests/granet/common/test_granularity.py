"""Whole filters as units, on tensors small enough to check by eye."""

import pytest
import torch
from torch import nn

from granet.common.granularity import ELEMENT, ChannelGroup, filters

# two convolutions whose outputs are added, and a linear layer that reads the sum
SUM = ChannelGroup("a.weight", 3, ("a.weight", "b.weight"), ("fc.weight",), ("bn",), ("bn.weight", "bn.bias"))
UNIT = filters([SUM])


@pytest.fixture
def weights():
    rows = torch.tensor([1.0, 2.0, 3.0])
    return {
        "a.weight": rows.view(3, 1, 1, 1).expand(3, 2, 1, 1),
        "b.weight": (10 * rows).view(3, 1, 1, 1).expand(3, 4, 1, 1),
        "fc.weight": torch.ones(5, 3),
    }


def test_a_filters_score_is_the_sum_over_its_weights_and_those_coupled_with_it(weights):
    assert UNIT.pool(weights)["a.weight"].tolist() == [2 + 40, 4 + 80, 6 + 120]
    assert set(UNIT.pool(weights)) == {"a.weight"}


def test_a_pruned_filter_takes_rows_columns_and_vectors_along(weights):
    own, read = (
        {"a.weight": torch.tensor([True, False, False])},
        {"a.weight": torch.tensor([True, True, False])},
    )
    masks = UNIT.expand(own, read, weights)
    assert masks["a.weight"].flatten(1).tolist() == [[True] * 2, [False] * 2, [False] * 2]
    assert masks["b.weight"].flatten(1).tolist() == [[True] * 4, [False] * 4, [False] * 4]
    assert masks["fc.weight"].tolist() == [[True, True, False]] * 5
    assert UNIT.vectors == {"bn.weight": "a.weight", "bn.bias": "a.weight"}


def test_grouping_undoes_expanding(weights):
    units = {"a.weight": torch.tensor([True, False, True])}
    assert torch.equal(UNIT.group(UNIT.expand(units, units, weights))["a.weight"], units["a.weight"])


def test_a_filter_is_active_while_any_of_its_weights_is(weights):
    masks = {name: torch.zeros_like(weight, dtype=torch.bool) for name, weight in weights.items()}
    masks["b.weight"][1, 3] = True
    assert UNIT.group(masks)["a.weight"].tolist() == [False, True, False]


def test_single_weights_are_their_own_units():
    masks = {"w": torch.tensor([True, False])}
    assert ELEMENT.group(masks) is masks
    assert ELEMENT.expand(masks, {}, {}) is masks
    assert not ELEMENT.vectors


def test_vectors_are_parameters_of_the_model():
    from granet.sparsifier.coupling import channel_groups

    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))
    unit = filters(channel_groups(model))
    assert set(unit.vectors) == {"0.bias", "1.weight", "1.bias"}
    assert set(unit.vectors) <= {name for name, _ in model.named_parameters()}
