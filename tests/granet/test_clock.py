from dataclasses import replace
from itertools import pairwise

import pytest

from granet import METHODS, UserError
from granet.sparsifier.clock import Clock


def updates(name, total=80, **values):
    clock = Clock(METHODS[name](sf=0.9, **values), total)
    return [step for step in range(1, total + 1) if clock.updates_at(step)]


def test_when_each_kind_of_method_changes_its_masks():
    assert updates("static") == []
    assert updates("gmp", update_interval=10) == [10, 20, 30, 40, 50]  # tf: 0.6875 * 80 = 55
    assert updates("granet", update_interval=20) == [20, 40, 60, 80]
    assert updates("rigl", update_interval=20, regenerate_until=0.75) == [20, 40, 60]
    assert updates("dpf", update_interval=20) == [20, 40, 60, 80]


def test_rounds_divide_the_run_and_lower_the_density_by_equal_factors():
    method = METHODS["imp"](sf=0.75, prune_fraction=0.5)  # two rounds after the dense training
    clock = Clock(method, 80)
    assert method.rounds == 2
    assert [step for step in range(1, 81) if clock.updates_at(step)] == [40]
    assert clock.target(40) == 0.75
    assert clock.last_pruning_step == 40
    deep = METHODS["imp"](sf=0.9)  # 0.8^10 = 0.107, so 11 rounds
    assert deep.rounds == 11
    densities = [1 - Clock(deep, 110).target(step) for step in range(0, 101, 10)]
    assert densities == pytest.approx([0.1 ** (k / 11) for k in range(1, 12)])


def test_a_single_round_prunes_once_before_training():
    method = METHODS["imp"](sf=0.5, prune_fraction=0.5)
    assert (method.rounds, method.prune, Clock(method, 80).interval) == (1, None, None)


def test_the_cosine_falls_over_the_share_that_regenerates():
    whole = Clock(METHODS["rigl"](sf=0.9, update_interval=10), 80)
    short = Clock(METHODS["rigl"](sf=0.9, update_interval=10, regenerate_until=0.5), 80)
    assert whole.fraction(40) == pytest.approx((0.5 + 0.005) / 2)
    assert short.fraction(20) == pytest.approx((0.5 + 0.005) / 2)
    assert short.fraction(40) == pytest.approx(0.005)


def test_intervals_double_and_end_as_in_the_released_code_of_dsr():
    """Every 1000 steps of 256 images, doubled at epochs 25, 50 and 75 of 100, to epoch 95; 10,010 steps of 128 each."""
    total = 1_001_000
    clock = Clock(METHODS["dsr"](sf=0.9), total)
    steps = [step for step in range(2000, total + 1, 2000) if clock.updates_at(step)]
    assert not any(clock.updates_at(step) for step in (1, 1000, 2001))
    between = {later - earlier for earlier, later in pairwise(steps)}
    assert between == {2000, 4000, 8000, 16000}
    first = {
        interval: next(s for s in steps if s > start)
        for interval, start in (
            (4000, 250_250),
            (8000, 500_500),
            (16000, 750_750),
        )
    }
    assert first == {4000: 252_000, 8000: 504_000, 16000: 752_000}
    assert steps[-1] == 944_000  # the last multiple of 16,000 up to 950,950


def test_a_share_at_which_intervals_double_lies_within_the_run():
    regenerate = METHODS["dsr"](sf=0.9).regenerate
    assert regenerate is not None
    with pytest.raises(UserError, match=r"doubled_at=\(1\.0,\) must be in \(0, 1\)"):
        replace(regenerate, doubled_at=(1.0,))


def test_methods_that_need_the_dense_gradient_at_every_step_say_so():
    for name in ("snfs", "dpf"):
        clock = Clock(METHODS[name](sf=0.9, update_interval=10), 80)
        assert clock.reads_gradient_at(7)
    for name in ("set", "gmp", "gmp_original", "str"):
        clock = Clock(METHODS[name](sf=0.9, update_interval=10), 80)
        assert not any(clock.reads_gradient_at(step) for step in range(1, 81))


def test_a_share_of_the_run_out_of_range_is_refused():
    with pytest.raises(UserError, match=r"regenerate_until=1\.5"):
        METHODS["rigl"](sf=0.9, regenerate_until=1.5)


@pytest.mark.parametrize("name", ["rigl", "set", "mest", "dsr", "snfs", "srigl", "gse", "topkast", "sr_ste"])
def test_a_run_without_any_mask_update_is_refused(name):
    with pytest.raises(UserError, match=r"^update_interval=1000: no mask update falls into the \d+ steps"):
        Clock(METHODS[name](sf=0.75, update_interval=1000), 500)
