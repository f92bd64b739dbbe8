"""granet.data.subset: balance, determinism, disjointness."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from granet.data.subset import balanced, hold_out

labels_and_size = st.lists(st.integers(0, 5), min_size=1, max_size=60).flatmap(
    lambda labels: st.tuples(st.just(np.array(labels)), st.integers(0, len(labels)))
)
seeds = st.integers(0, 2**31)


@given(labels_and_size, seeds)
def test_a_class_falls_behind_only_by_giving_all_it_has(case: tuple[np.ndarray, int], seed: int) -> None:
    labels, size = case
    chosen = balanced(labels, size, seed)
    has, gives = np.bincount(labels, minlength=6), np.bincount(labels[chosen], minlength=6)
    assert chosen.tolist() == sorted(set(chosen.tolist())) and len(chosen) == size
    assert all(gives.max() - given <= 1 for given, there in zip(gives, has, strict=True) if given < there)


@given(labels_and_size, seeds)
def test_a_function_of_the_seed_and_nested(case: tuple[np.ndarray, int], seed: int) -> None:
    labels, size = case
    chosen = balanced(labels, size, seed)
    assert chosen.tolist() == balanced(labels, size, seed).tolist()
    assert set(chosen) <= set(balanced(labels, min(size + 1, len(labels)), seed))


def test_other_seeds_choose_other_images() -> None:
    labels = np.repeat(np.arange(10), 20)
    assert len({tuple(balanced(labels, 50, seed)) for seed in range(20)}) == 20


@given(labels_and_size, seeds, st.data())
def test_train_and_val_are_disjoint(case: tuple[np.ndarray, int], seed: int, data: st.DataObject) -> None:
    labels, val_size = case
    train_size = data.draw(st.integers(0, len(labels) - val_size))
    train, val = hold_out(labels, train_size, val_size, seed)
    rest, same_val = hold_out(labels, None, val_size, seed)
    assert (len(train), len(val)) == (train_size, val_size) and not set(train) & set(val)
    assert val.tolist() == same_val.tolist()  # what is held out does not depend on train_size
    assert sorted([*rest, *val]) == list(range(len(labels))) and set(train) <= set(rest)
