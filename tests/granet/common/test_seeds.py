"""granet.seeds: one doctest shows values; here are the properties."""

from hypothesis import given
from hypothesis import strategies as st

from granet.common.seeds import stable_seed


@given(st.lists(st.one_of(st.integers(), st.text())))
def test_fits_31_bits(parts: list) -> None:
    assert 0 <= stable_seed(*parts) < 2**31


def test_neighbours_do_not_collide() -> None:
    assert len({stable_seed("augment", seed, epoch) for seed in range(10) for epoch in range(200)}) == 2000
