from math import prod

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from granet.distributions import (
    allocate,
    budget,
    by_active,
    by_layer,
    by_momentum,
    er,
    erk,
    global_,
    preserve,
    share_out,
    uniform,
    uniform_capped,
)
from granet.maskable import maskable_weights
from granet.models import build
from granet.types import Snapshot, UserError

SHAPES = {"conv": (16, 3, 3, 3), "wide": (64, 64, 3, 3), "fc": (10, 64)}
sparsities = st.floats(0, 0.99)


def overall(layers: dict[str, float], shapes: dict) -> float:
    sizes = {name: prod(shape) for name, shape in shapes.items()}
    return sum(layers[name] * sizes[name] for name in shapes) / sum(sizes.values())


def test_erk_by_hand():
    # raw = sum / prod: conv 25/432, wide 134/36864, fc 74/640. At s = 0.9: N = 37936, budget 3793.6.
    # eps = 3793.6 / (25 + 134 + 74) = 16.28 makes fc 1.88 dense -> kept whole; then 3153.6 / 159 = 19.83 makes
    # conv 1.15 -> kept whole; then 2721.6 / 36864 = 0.0738 are left for wide.
    layers = erk(SHAPES, 0.9)
    assert layers["fc"] == layers["conv"] == 0.0
    assert round(1 - layers["wide"], 6) == round(2721.6 / 36864, 6)


def test_er_leaves_the_kernel_out():
    # raw: a (20 + 10) / 200, b (20 + 10) / 200 as well: equal densities, whatever the kernels
    layers = er({"a": (20, 10, 3, 3), "b": (20, 10, 1, 1)}, 0.8)
    assert layers["a"] == pytest.approx(0.8)
    assert layers["b"] == pytest.approx(0.8)


@given(sparsities, st.sampled_from([uniform, er, erk]))
def test_the_overall_sparsity_is_the_one_asked_for(sparsity, rule):
    layers = rule(SHAPES, sparsity)
    assert overall(layers, SHAPES) == pytest.approx(sparsity, abs=1e-9)
    assert all(0 <= value < 1 for value in layers.values())


@given(sparsities, st.sampled_from([uniform, er, erk]))
def test_whole_numbers_add_up_exactly(sparsity, rule):
    total = budget(SHAPES, sparsity)
    sizes = {name: prod(shape) for name, shape in SHAPES.items()}
    layers = rule(SHAPES, sparsity)
    counts = allocate(layers, sizes, SHAPES, total)
    assert sum(counts.values()) == total
    assert all(abs(counts[n] - (1 - layers[n]) * sizes[n]) <= 1 for n in SHAPES)


def test_allocate_never_exceeds_its_limits():
    counts = allocate({"a": 0.0, "b": 0.0}, {"a": 1, "b": 9}, {"a": (5,), "b": (9,)}, 10)
    assert counts == {"a": 1, "b": 9}


def test_global_takes_the_largest_over_all_tensors():
    scores = {"a": torch.tensor([5.0, 1.0, 4.0]), "b": torch.tensor([3.0, 2.0])}
    full = {name: torch.ones_like(s, dtype=torch.bool) for name, s in scores.items()}
    assert global_(scores, full, 0.6) == {"a": 2, "b": 0}  # 5 and 4
    assert global_(scores, full, 0.4) == {"a": 2, "b": 1}  # 5, 4 and 3


def test_global_ranks_only_active_weights():
    scores = {"a": torch.tensor([9.0, 1.0]), "b": torch.tensor([3.0, 2.0])}
    active = {"a": torch.tensor([False, True]), "b": torch.tensor([True, True])}
    assert global_(scores, active, 0.5) == {"a": 0, "b": 2}


def test_global_breaks_ties_in_order():
    scores = {"a": torch.ones(3), "b": torch.ones(3)}
    full = {name: torch.ones(3, dtype=torch.bool) for name in scores}
    assert global_(scores, full, 1 / 3) == {"a": 3, "b": 1}


@given(st.lists(st.integers(0, 5), min_size=4, max_size=40), sparsities)
def test_global_counts_are_exact_with_any_ties(values, sparsity):
    scores = {"a": torch.tensor(values[::2]).float(), "b": torch.tensor(values[1::2]).float()}
    full = {name: torch.ones_like(s, dtype=torch.bool) for name, s in scores.items()}
    counts = global_(scores, full, sparsity)
    assert sum(counts.values()) == round((1 - sparsity) * len(values))


def test_uniform_spares_the_classifier_and_the_others_make_up_for_it():
    assert uniform_capped(SHAPES, 0.7) == dict.fromkeys(SHAPES, 0.7)
    layers = uniform_capped(SHAPES, 0.98)  # 758.72 of 37,936 stay; 128 in fc, 630.72 of the other 37,296
    assert layers["conv"] == layers["wide"] == pytest.approx(1 - 630.72 / 37_296)
    assert layers["fc"] == 0.8
    two = {"hidden": (80, 8), "fc": (4, 8)}
    assert uniform_capped(two, 0.9)["fc"] == 0.8
    assert overall(uniform_capped(two, 0.9), two) == pytest.approx(0.9)


def test_uniform_is_the_same_everywhere_where_the_classifier_would_leave_the_others_nothing():
    two = {"hidden": (8, 8), "fc": (8, 8)}  # 12.8 weights stay; 0.2 of the classifier are 12.8
    assert uniform_capped(two, 0.9) == {"hidden": 0.9, "fc": 0.9}


@given(st.floats(0, 0.9999))
def test_uniform_pruning_leaves_exactly_the_whole_networks_number(sparsity):
    full = {name: torch.ones(shape, dtype=torch.bool) for name, shape in SHAPES.items()}
    counts = by_layer(uniform_capped)({}, full, sparsity)
    assert sum(counts.values()) == budget(SHAPES, sparsity)


limited = st.lists(st.tuples(st.floats(0, 5), st.integers(0, 50)), min_size=1, max_size=8)


@given(limited, st.integers(0, 400))
def test_shares_add_up_and_fit(tensors, total):
    weights = {str(i): weight for i, (weight, _) in enumerate(tensors)}
    limits = {str(i): limit for i, (_, limit) in enumerate(tensors)}
    counts = share_out(weights, limits, total)
    assert sum(counts.values()) == min(total, sum(limits.values()))
    assert all(0 <= counts[name] <= limit for name, limit in limits.items())


def test_shares_are_proportional_and_their_overflow_too():
    wide = dict.fromkeys("abc", 1000)
    assert share_out({"a": 1.0, "b": 2.0, "c": 5.0}, wide, 80) == {"a": 10, "b": 20, "c": 50}
    # c takes 20 of its 50; the other 30 go to a and b as 1 : 2
    assert share_out({"a": 1.0, "b": 2.0, "c": 5.0}, wide | {"c": 20}, 80) == {"a": 20, "b": 40, "c": 20}
    assert share_out({"a": 0.0, "b": 0.0}, {"a": 9, "b": 9}, 5) == {"a": 3, "b": 2}


def snapshot(momentum=None):
    return Snapshot({}, {}, step=1, seed=0, momentum=momentum or {})


KEPT = {"a": torch.tensor([True] * 6 + [False] * 10), "b": torch.tensor([True] * 2 + [False] * 10)}


def test_growth_preserved_by_survivors_or_by_momentum():
    dropped = {"a": 1, "b": 3}
    assert preserve(snapshot(), KEPT, dropped) == dropped
    assert by_active(snapshot(), KEPT, dropped) == {"a": 3, "b": 1}  # 6 : 2
    momentum = {"a": torch.full((16,), -1.0), "b": torch.tensor([3.0, 3.0] + [99.0] * 10)}
    assert by_momentum(snapshot(momentum), KEPT, dropped) == {"a": 1, "b": 3}  # mean |m| of survivors 1 : 3


def test_growth_by_momentum_goes_by_what_was_active_before_the_drop():
    """SNFS' code gathers its statistics first: a is 3 on average, not the 1 of its survivor; b is 1."""
    momentum = {"a": torch.tensor([1.0, 5.0, 0.0, 0.0]), "b": torch.tensor([1.0, -1.0, 0.0])}
    before = {"a": torch.tensor([True, True, False, False]), "b": torch.tensor([True, True, False])}
    after = {"a": torch.tensor([True, False, False, False]), "b": torch.tensor([True, True, False])}
    now = Snapshot({}, {}, step=1, seed=0, momentum=momentum, masks=before)
    assert by_momentum(now, after, {"a": 4, "b": 0}) == {"a": 3, "b": 1}


def test_growth_by_momentum_needs_a_momentum():
    with pytest.raises(UserError, match="set momentum above 0"):
        by_momentum(Snapshot({"a": torch.ones(2)}, {}, step=1, seed=0), KEPT, {"a": 1, "b": 1})


def test_by_layer_is_blind_to_scores_and_exact():
    full = {name: torch.ones(shape, dtype=torch.bool) for name, shape in SHAPES.items()}
    counts = by_layer(uniform)({}, full, 0.75)
    assert counts == {"conv": 108, "wide": 9216, "fc": 160}


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5])
def test_sparsity_outside_its_range_is_refused(sparsity):
    with pytest.raises(UserError, match="sparsity="):
        erk(SHAPES, sparsity)


def test_erk_of_imagenet_resnet50():
    """At 0.9 only layer1.0.conv1 stays dense; every other density is eps * sum(shape) / prod(shape)."""
    with torch.device("meta"):
        model = build("resnet50", num_classes=1000)
    shapes = {name: tuple(weight.shape) for name, weight in maskable_weights(model).items()}
    layers = erk(shapes, 0.9)
    assert [name for name, value in layers.items() if value == 0.0] == ["layer1.0.conv1.weight"]
    # 25,502,912 maskable weights; 64 * 64 of them dense; the dimensions of all other tensors add up to `rest`
    rest = sum(sum(shape) for name, shape in shapes.items() if name != "layer1.0.conv1.weight")
    eps = (0.1 * 25_502_912 - 64 * 64) / rest
    assert layers["conv1.weight"] == pytest.approx(1 - eps * (64 + 3 + 7 + 7) / (64 * 3 * 7 * 7))
    assert layers["fc.weight"] == pytest.approx(1 - eps * (1000 + 2048) / (1000 * 2048))


def test_a_layer_wise_rule_cannot_bring_weights_back():
    half = {"a": torch.tensor([True, False, True, False])}
    assert by_layer(uniform)({}, half, 0.25) == {"a": 2}


def test_global_needs_all_scores_on_one_device():
    scores = {"a": torch.ones(4), "b": torch.ones(4, device="meta")}
    with pytest.raises(UserError, match="these lie on cpu, meta; choose a layer-wise one"):
        global_(scores, scores, 0.5)
