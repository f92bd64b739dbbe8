import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from granet import masks

SHAPES = {"conv": (4, 3, 3, 3), "fc": (5, 7)}


def test_random_masks_have_exact_counts():
    drawn = masks.random_masks(SHAPES, {"conv": 10, "fc": 35}, seed=0)
    assert masks.num_active(drawn) == {"conv": 10, "fc": 35}


def test_random_masks_depend_on_seed_and_layer_name_only():
    counts = {"conv": 50, "fc": 12}
    both = masks.random_masks(SHAPES, counts, seed=3)
    reordered = masks.random_masks(dict(reversed(SHAPES.items())), counts, seed=3)
    torch.manual_seed(99)  # the global generator plays no part
    alone = masks.random_masks({"fc": SHAPES["fc"]}, counts, seed=3)
    assert torch.equal(both["fc"], reordered["fc"])
    assert torch.equal(both["fc"], alone["fc"])
    assert not torch.equal(both["conv"], masks.random_masks(SHAPES, counts, seed=4)["conv"])


@given(st.integers(0, 108), st.integers(0, 35), st.integers(0, 1000))
def test_unpack_inverts_pack(conv, fc, seed):
    drawn = masks.random_masks(SHAPES, {"conv": conv, "fc": fc}, seed)
    again = masks.unpack(masks.pack(drawn), SHAPES)
    assert all(torch.equal(drawn[name], again[name]) for name in SHAPES)


def test_packed_masks_take_an_eighth():
    packed = masks.pack(masks.random_masks(SHAPES, {"conv": 1, "fc": 1}, 0))
    assert {name: value.numel() for name, value in packed.items()} == {"conv": 14, "fc": 5}


def test_apply_zeroes_what_is_inactive_in_place():
    tensor = torch.tensor([1.0, -2.0, 3.0])
    masks.apply_({"w": tensor}, {"w": torch.tensor([True, False, True])})
    assert tensor.tolist() == [1.0, 0.0, 3.0]
    masks.apply_({}, {})  # a dense model has nothing to project


@pytest.mark.parametrize("room", [6, 40, 700])
def test_inactive_places_are_all_as_likely_and_differ(room):
    """700 of 1000 positions are tried at random, of 6 the order is drawn."""
    mask = torch.ones(10, 100, dtype=torch.bool).contiguous()
    inactive = torch.randperm(1000, generator=torch.Generator().manual_seed(0))[:room]
    mask.view(-1)[inactive] = False
    seen = torch.zeros(1000)
    for seed in range(400):
        places = masks.random_inactive(mask, min(room, 5), torch.Generator().manual_seed(seed))
        assert len(places.unique()) == min(room, 5)
        seen[places] += 1
    assert (seen[mask.view(-1)] == 0).all()
    expected = 400 * min(room, 5) / room
    assert float((seen[inactive] - expected).square().sum() / expected) < room + 6 * (2 * room) ** 0.5
    with pytest.raises(ValueError, match=f"{room} are inactive"):
        masks.random_inactive(mask, room + 1, torch.Generator())


def test_masks_of_numbers_are_packed_by_what_is_not_zero():
    numbers = {"a": torch.tensor([0.0, 1.0, 0.5])}
    assert masks.unpack(masks.pack(numbers), masks.shapes(numbers))["a"].tolist() == [False, True, True]
