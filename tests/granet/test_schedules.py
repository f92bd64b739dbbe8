import pytest

from granet.schedules import cosine, cubic, piecewise
from granet.types import UserError


def test_cubic_is_equation_1_over_its_whole_course():
    # s_t = 0.9 + (0.1 - 0.9) (1 - (t - 10) / 40)^3 by hand at every tenth step
    sparsity = cubic(0.1, 0.9, 10, 50)
    expected = {0: 0.1, 10: 0.1, 20: 0.5625, 30: 0.8, 40: 0.8875, 50: 0.9, 60: 0.9}
    assert {t: round(sparsity(t), 12) for t in expected} == expected


def test_cubic_ends_on_the_target_exactly():
    assert cubic(0.0, 0.98, 0, 330)(330) == 0.98
    assert cubic(0.5, 0.965, 7, 331)(10**9) == 0.965


@pytest.mark.parametrize(
    ("si", "sf", "t0", "tf", "key"),
    [
        (0.95, 0.9, 0, 10, "si=0.95"),
        (-0.1, 0.9, 0, 10, "si=-0.1"),
        (0.0, 1.0, 0, 10, "sf=1.0"),
        (0.0, -0.2, 0, 10, "sf=-0.2"),
        (0.0, 0.9, 10, 10, "t0=10"),
        (0.0, 0.9, -1, 10, "t0=-1"),
    ],
)
def test_cubic_refuses_the_impossible_by_name(si, sf, t0, tf, key):
    with pytest.raises(UserError, match=key) as error:
        cubic(si, sf, t0, tf)
    assert "\n" not in str(error.value)


def test_cosine_over_its_whole_course():
    fraction = cosine(0.5, 0.005, 4)
    # 0.005 + 0.495 (1 + cos(pi t / 4)) / 2
    assert [round(fraction(t), 6) for t in range(6)] == [0.5, 0.427509, 0.2525, 0.077491, 0.005, 0.005]


def test_learning_rate_drops_at_the_papers_epochs():
    lr = piecewise(0.1, [80, 120], 0.1)
    assert [round(lr(e), 6) for e in (0, 79, 80, 119, 120, 159)] == [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
