import pytest
import torch

from granet.criteria import magnitude, sign_flip
from granet.drops import Drop, below_threshold, below_zero, by_fraction, initial_signs, one_stays
from granet.types import Snapshot
from granet.update import drop

MASKS = {"a": torch.tensor([True, True, True, True, False]), "b": torch.tensor([True, False])}
SCORES = {"a": torch.tensor([0.1, -0.2, 0.3, -0.4, -9.0]), "b": torch.tensor([0.5, 0.0])}


def test_a_fraction_is_rounded_up_and_needs_no_memory():
    assert by_fraction(SCORES, MASKS, 0.3, {}) == ({"a": 2, "b": 1}, {})
    assert Drop(magnitude).remember({"a": torch.ones(1)}) == {}


def test_below_zero_counts_active_weights_only():
    assert below_zero(SCORES, MASKS, 1.0, {}) == ({"a": 2, "b": 0}, {})


def test_a_flipped_sign_is_dropped_and_a_new_weight_is_not():
    memory = initial_signs({"w": torch.tensor([1.0, -1.0, 1.0, -1.0])})
    now = Snapshot({"w": torch.tensor([0.5, -0.5, -0.1, 0.0])}, {}, step=1, seed=0, memory=memory)
    scores = sign_flip(now)
    masks = {"w": torch.tensor([True] * 4)}
    counts, _ = below_zero(scores, masks, 1.0, memory)
    assert drop(masks, scores, counts)["w"].tolist() == [True, True, False, True]


def test_the_threshold_doubles_halves_or_stays():
    _, count = below_threshold(initial=0.25, tolerance=0.1, num_wanted=1)
    sizes = {name: score.abs() for name, score in SCORES.items()}  # active: 0.1 0.2 0.3 0.4 0.5
    threshold = torch.tensor(0.25)
    for wanted, dropped, then in (
        (2, {"a": 2, "b": 0}, 0.25),
        (4, {"a": 2, "b": 0}, 0.5),
        (1, {"a": 4, "b": 0}, 0.25),  # 0.5 is not below 0.5
    ):
        memory = {"threshold": threshold, "wanted": torch.tensor(wanted)}
        counts, memory = count(sizes, MASKS, 1.0, memory)
        threshold = memory["threshold"]
        assert (counts, float(threshold), int(memory["wanted"])) == (dropped, then, wanted)


@pytest.mark.parametrize(("size", "wanted"), [(25_502_912, 400_000), (1_450_000, 22_743), (0, 0)])
def test_the_wanted_number_is_that_of_resnet50_in_proportion(size, wanted):
    """DSR's code: 400,000 of ResNet-50 at 80 and at 90 %; 20,000 of WRN-28-2, which has 1.45 million weights."""
    remember, _ = below_threshold(initial=1e-3, tolerance=0.1, num_wanted=400_000)
    assert int(remember({"w": torch.empty(size, device="meta")})["wanted"]) == wanted


def test_a_unit_without_any_active_one_drops_none():
    empty = {"a": torch.zeros(4, dtype=torch.bool)}
    assert one_stays(by_fraction)({"a": torch.ones(4)}, empty, 0.5, {})[0] == {"a": 0}
