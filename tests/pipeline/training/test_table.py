"""pipeline.training.stages: what the start functions of the table start from."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from granet import METHODS
from granet.maskable import Choice, maskable_weights
from granet.types import UserError
from pipeline.training.folder import RunFolder
from pipeline.training.stages import STAGES, Start, builder


@pytest.fixture
def start(tmp_path: Path):
    """Keys of a start from a run whose weights are all sevens, and whose first mask is half full."""
    build = builder("resnet20", 10)
    final = {name: torch.full_like(value, 7) for name, value in build(0).state_dict().items()}
    masks = {name: torch.ones_like(w, dtype=torch.bool) for name, w in maskable_weights(build(0)).items()}
    masks["conv1.weight"] = torch.arange(432).view(16, 3, 3, 3) % 2 == 0
    save_file(final, tmp_path / "model.safetensors")
    save_file(masks, tmp_path / "masks.safetensors")

    def make(stage: str, seed: int = 5, **keys):
        source = RunFolder(tmp_path)
        begin = STAGES[stage].start
        assert begin is not None
        return begin(Start(seed, build, lambda: METHODS["imp"](sf=0.5), source, **keys))

    return make


def weights(setup):
    return setup.model.state_dict()


def same(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_seed_gives_the_same_weights_whatever_was_drawn_before(start):
    first = weights(start("dense"))
    torch.manual_seed(99)
    assert same(first, weights(start("dense")))
    assert same(first, weights(start("sparse")))
    assert not same(first, weights(start("dense", seed=6)))


@pytest.mark.parametrize("init", ["fan_in", "fan_out", "torch"])
def test_the_named_initialisation_is_that_of_every_run_and_goes_by_the_seed(init):
    drawn = [builder("resnet20", 10, init)(seed).get_parameter("layer2.0.conv1.weight") for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    variance = {"fan_in": 2 / (16 * 9), "fan_out": 2 / (32 * 9), "torch": 1 / 3 / (16 * 9)}[init]
    assert drawn[0].var().item() == pytest.approx(variance, rel=0.1)


def test_reinit_draws_other_weights_than_the_run_and_the_same_ones_every_time(start):
    assert same(weights(start("reinit")), weights(start("reinit")))
    assert not same(weights(start("reinit")), weights(start("dense")))
    assert not same(weights(start("reinit")), weights(start("reinit", seed=6)))


def test_lth_goes_back_to_the_runs_own_initial_weights_and_lrr_keeps_its_final_ones(start):
    assert same(weights(start("retrain", rewind="lth")), weights(start("dense")))
    assert all((value == 7).all() for value in weights(start("retrain", rewind="lrr")).values())
    with pytest.raises(UserError, match="rewind='later' is unknown; choose from lth, lrr"):
        start("retrain", rewind="later")


@pytest.mark.parametrize(("stage", "keys"), [("reinit", {}), ("retrain", {"rewind": "lth"})])
def test_a_retrained_mask_is_the_runs_and_stays(start, stage, keys):
    method = start(stage, **keys).method
    assert (method.update_interval, method.prune, method.regenerate) == (None, None, None)
    assert int(method.init(None)["conv1.weight"].sum()) == 216


def test_after_starts_from_the_dense_runs_weights_and_rewinds_to_its_initial_ones(start):
    setup = start("after")
    assert all((value == 7).all() for value in weights(setup).values())
    assert same(setup.rewind_to, weights(start("dense")))


def test_a_pretrained_network_is_static(start):
    assert start("pretrain", network="element-0.5").method.update_interval is None


def test_chosen_layers_are_those_of_every_stage(start, tmp_path):
    choice = Choice.made(dense="first")
    assert [start(stage, choice=choice).choice for stage in ("sparse", "after", "dense")] == [choice] * 3
    assert start("pretrain", network="filter-0.5", choice=choice).choice == choice
    with pytest.raises(UserError, match=r"there is one for conv1.weight, which is no maskable weight"):
        start("reinit", choice=choice)
    masks = load_file(tmp_path / "masks.safetensors")
    del masks["conv1.weight"]
    save_file(masks, tmp_path / "masks.safetensors")
    assert start("reinit", choice=choice).choice == choice
