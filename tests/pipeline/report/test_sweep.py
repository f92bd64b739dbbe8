"""FLOPs of GraNet's schedule without a run: by hand on a tiny network, and between the bounds on ResNet-50."""

import pytest

from granet.distributions import uniform
from granet.flops import Flops
from granet.methods import METHODS
from granet.sparsifier.clock import Clock
from granet.studies.budget import Outline
from granet.types import UserError
from pipeline.report.paper.costs import outline_of, planned_ratios, sweep

NET = Outline({"fc.weight": (10, 10)}, Flops(200, {"fc.weight": 200}))


def test_by_hand():
    """4 steps of 2 between updates, si = 0, sf = 0.8: steps 1 and 2 dense, pruning ends at step 2, 3 and 4 at 0.2."""
    method = METHODS["granet"](sf=0.8, si=0.0, tf=2, update_interval=2)
    training, inference = planned_ratios(NET, Clock(method, 4), uniform, 4)
    # per image: 3 x 200 twice, then 3 x 40, then 2 x 40 + 200 where the update reads the dense gradient; dense 4 x 600
    assert training == pytest.approx((600 + 600 + 120 + 280) / 2400)
    assert inference == 0.2


def test_a_last_stretch_that_is_shorter_has_no_update():
    method = METHODS["granet"](sf=0.8, si=0.0, tf=2, update_interval=2)
    training, _ = planned_ratios(NET, Clock(method, 5), uniform, 5)
    assert training == pytest.approx((600 + 600 + 120 + 280 + 120) / 3000)


@pytest.fixture(scope="module")
def planned():
    return sweep(outline_of("resnet50", 1000, (3, 224, 224)), [0.0, 0.5, 0.6, 0.7, 0.8], 0.9)


def test_the_papers_flops_lie_between_uniform_and_erk_layers(planned):
    """Table 4. Learnt layers cost more than uniform ones and less than ERK's; two decimals are in print."""
    by = {(one.si, one.assumed): one for one in planned}
    for si in (0.0, 0.5, 0.6, 0.7, 0.8):
        low, high = by[si, "uniform"], by[si, "erk"]
        assert low.training < high.training_in_print <= high.training + 0.005
        assert low.inference < high.inference_in_print <= high.inference + 0.005


def test_erk_by_initial_sparsity(planned):
    erk = [one for one in planned if one.assumed == "erk"]
    assert [round(one.training, 2) for one in erk] == [0.32, 0.29, 0.28, 0.27, 0.26]
    assert {round(one.inference, 2) for one in erk} == {0.24}  # the layers at the end are the same


def test_an_initial_sparsity_above_the_final_one_is_refused():
    with pytest.raises(UserError, match=r"si=0.95 must lie in \[0, sf=0.9\]"):
        sweep(NET, [0.95], 0.9)
