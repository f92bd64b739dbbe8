import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from granet.masks import num_active, random_masks
from granet.types import UserError
from granet.update import drop, grow, num_to_drop, prune, regenerate, scatter

T, F = True, False


def one(mask, *scores):
    """A single tensor called w, with as many score dicts as asked for."""
    return {"w": tensor(mask)}, *({"w": tensor(s)} for s in scores)


def test_prune_keeps_the_highest_active():
    masks, scores = one([T, T, F, T, T], [1.0, 5.0, 9.0, 3.0, 2.0])
    assert prune(masks, scores, {"w": 2})["w"].tolist() == [F, T, F, T, F]


def test_prune_breaks_ties_by_index_and_keeps_its_arguments():
    masks, scores = one([T, T, T, T], [1.0, 1.0, 2.0, 1.0])
    assert prune(masks, scores, {"w": 3})["w"].tolist() == [T, T, T, F]
    assert masks["w"].all()


def test_prune_cannot_bring_weights_back():
    masks, scores = one([T, F, F], [1.0, 2.0, 3.0])
    with pytest.raises(UserError, match="w: cannot keep 2 of 1"):
        prune(masks, scores, {"w": 2})


def test_regenerate_on_eight_weights_by_hand():
    """Of 4 active weights 2 are dropped (|w| 0.1, 0.2), and the 2 largest gradients off the mask are grown."""
    #        index     0     1     2     3     4     5     6     7
    masks, weights, grads = one(
        [T, F, T, F, T, F, T, F],
        [0.1, 0.0, 0.9, 0.0, 0.2, 0.0, 0.5, 0.0],
        [0.0, 3.0, 9.0, 1.0, 2.0, 0.5, 9.0, 0.1],
    )
    after = regenerate(masks, weights, grads, 0.5)
    # grown: 1 (gradient 3.0) and 4 (2.0; just dropped, yet a candidate like all zero weights, Eq. 3)
    assert after["w"].tolist() == [F, T, T, F, T, F, T, F]


def test_regenerate_with_equal_gradients_preserves_counts():
    masks = random_masks({"w": (50, 40)}, {"w": 1021}, seed=0)
    zero = {"w": torch.zeros(50, 40)}
    assert num_active(regenerate(masks, {"w": torch.rand(50, 40)}, zero, 0.3)) == {"w": 1021}


def test_the_number_to_drop_is_the_ceiling():
    masks = {"a": torch.ones(30, dtype=torch.bool), "b": torch.ones(31, dtype=torch.bool)}
    assert num_to_drop(masks, 0.1) == {"a": 3, "b": 4}
    assert num_to_drop(masks, 0.0) == {"a": 0, "b": 0}


@st.composite
def networks(draw):
    """Two tensors with random masks, and scores with many ties."""
    sizes = {"a": draw(st.integers(1, 30)), "b": draw(st.integers(1, 30))}
    counts = {name: draw(st.integers(0, size)) for name, size in sizes.items()}
    masks = random_masks({name: (size,) for name, size in sizes.items()}, counts, draw(st.integers(0, 99)))
    values = st.integers(0, 4)
    scores = [
        {n: tensor(draw(st.lists(values, min_size=s, max_size=s))).float() for n, s in sizes.items()}
        for _ in range(2)
    ]
    return masks, *scores


@given(networks(), st.floats(0, 1))
def test_regenerate_preserves_every_tensors_count(network, fraction):
    masks, drop_scores, grow_scores = network
    assert num_active(regenerate(masks, drop_scores, grow_scores, fraction)) == num_active(masks)


@given(networks(), st.floats(0, 1))
def test_prune_yields_a_subset_with_the_highest_scores(network, share):
    masks, scores, _ = network
    counts = {name: int(share * n) for name, n in num_active(masks).items()}
    kept = prune(masks, scores, counts)
    assert num_active(kept) == counts
    for name, mask in masks.items():
        assert not (kept[name] & ~mask).any()
        gone = mask & ~kept[name]
        if kept[name].any() and gone.any():
            assert scores[name][kept[name]].min() >= scores[name][gone].max()


@given(networks(), st.floats(0, 1))
def test_grow_adds_only_the_highest_inactive(network, share):
    masks, scores, _ = network
    counts = {name: int(share * int((~mask).sum())) for name, mask in masks.items()}
    grown = grow(masks, scores, counts)
    for name, mask in masks.items():
        new, still = grown[name] & ~mask, ~grown[name]
        assert int(new.sum()) == counts[name]
        assert (grown[name] | ~mask).all()
        if new.any() and still.any():
            assert scores[name][new].min() >= scores[name][still].max()


@given(networks())
def test_drop_everything_and_nothing(network):
    masks, scores, _ = network
    assert num_active(drop(masks, scores, num_active(masks))) == {"a": 0, "b": 0}
    none = drop(masks, scores, {"a": 0, "b": 0})
    assert all(torch.equal(none[name], masks[name]) for name in masks)


@given(st.integers(0, 6), st.integers(0, 6), st.data())
def test_counts_are_exact_whatever_the_scores(num_kept, num_grown, data):
    """NaN and infinity included: what cannot be compared goes last."""
    numbers = st.sampled_from([float("nan"), float("inf"), -float("inf"), 0.0, 1.0])
    scores = {"w": torch.tensor(data.draw(st.lists(numbers, min_size=12, max_size=12)))}
    masks = {"w": torch.arange(12) < 6}
    kept = prune(masks, scores, {"w": num_kept})
    assert int(kept["w"].sum()) == num_kept
    assert int(grow(kept, scores, {"w": num_grown})["w"].sum()) == num_kept + num_grown


@given(networks(), st.floats(0, 1), st.integers(0, 9))
def test_scatter_grows_exact_numbers_and_is_a_function_of_seed_and_step(network, share, seed):
    masks, _, _ = network
    counts = {name: int(share * int((~mask).sum())) for name, mask in masks.items()}
    grown = scatter(masks, counts, seed=seed, step=1)
    for name, mask in masks.items():
        assert (grown[name] | ~mask).all()
        assert int((grown[name] & ~mask).sum()) == counts[name]
    again = scatter(masks, counts, seed=seed, step=1)
    assert all(torch.equal(grown[name], again[name]) for name in masks)


def test_scatter_draws_anew_for_every_seed_step_and_name():
    masks = {name: torch.zeros(1000, dtype=torch.bool) for name in "ab"}
    draws = [
        scatter(masks, {"a": 50, "b": 50}, seed=s, step=t)[n] for s in (0, 1) for t in (1, 2) for n in "ab"
    ]
    assert len({tuple(mask.nonzero().flatten().tolist()) for mask in draws}) == len(draws)
