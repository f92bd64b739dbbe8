import torch

from granet.criteria import magnitude, sign_flip
from granet.drops import Drop, below_threshold, below_zero, by_fraction, initial_signs
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
    remember, count = below_threshold(initial=0.25, tolerance=0.1)
    sizes = {name: score.abs() for name, score in SCORES.items()}  # active: 0.1 0.2 0.3 0.4 0.5
    memory = remember({})
    for fraction, dropped, threshold in (
        (0.4, {"a": 2, "b": 0}, 0.25),  # wanted 2 of 5, dropped 2
        (0.8, {"a": 2, "b": 0}, 0.5),  # wanted 4
        (0.2, {"a": 4, "b": 0}, 0.25),  # wanted 1, dropped 4 (0.5 is not below 0.5)
    ):
        counts, memory = count(sizes, MASKS, fraction, memory)
        assert (counts, float(memory["threshold"])) == (dropped, threshold)
