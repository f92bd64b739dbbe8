import pytest
import torch

from granet.common.langevin import Langevin


def moved(walk, weight, *, lr=0.1, seed=0, step=1, name="w"):
    weight = weight.clone()
    walk.move_({name: weight}, {name: weight != 0}, {name: lr}, seed=seed, step=step)
    return weight


def test_the_pull_is_lr_times_l1_towards_zero_on_active_weights():
    weight = torch.tensor([2.0, -2.0, 0.0])
    assert moved(Langevin(l1=0.5, noise=0.0), weight).tolist() == pytest.approx([1.95, -1.95, 0.0])


def test_the_noise_has_its_standard_deviation_and_spares_inactive_weights():
    weight = torch.cat([torch.ones(50_000), torch.zeros(10)])
    shift = moved(Langevin(l1=0.0, noise=0.3), weight) - weight
    assert float(shift[:50_000].std()) == pytest.approx(0.1 * 0.3, rel=0.02)
    assert (shift[50_000:] == 0).all()


def test_the_noise_is_a_function_of_seed_step_and_name():
    walk, weight = Langevin(l1=0.0, noise=1.0), torch.ones(8)
    assert torch.equal(moved(walk, weight), moved(walk, weight))
    for other in ({"seed": 1}, {"step": 2}, {"name": "v"}):
        assert not torch.equal(moved(walk, weight), moved(walk, weight, **other))


def test_every_weight_moves_by_the_learning_rate_of_its_own_group():
    weights = {"slow": torch.ones(4), "fast": torch.ones(4)}
    masks = {name: weight != 0 for name, weight in weights.items()}
    Langevin(l1=0.5, noise=0.0).move_(weights, masks, {"slow": 0.1, "fast": 0.2}, seed=0, step=1)
    assert weights["slow"].tolist() == pytest.approx([0.95] * 4)
    assert weights["fast"].tolist() == pytest.approx([0.9] * 4)


def test_layouts_without_a_flat_view_move_too():
    """Every second column of a larger tensor."""
    whole = torch.ones(6, 8)
    weight = whole[:, ::2]
    Langevin(l1=0.5, noise=0.0).move_(
        {"w": weight}, {"w": torch.ones(6, 4).bool()}, {"w": 0.1}, seed=0, step=1
    )
    assert weight.flatten().tolist() == pytest.approx([0.95] * 24)
    assert (whole[:, 1::2] == 1).all()
