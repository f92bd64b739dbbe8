"""The selection of the k highest against a full, stable sort."""

import numpy as np
import pytest
import torch

from granet.common import selection
from granet.common.selection import highest, num_highest

NAN, INF = float("nan"), float("inf")
SHAPE = (96, 64, 3, 3)  # more than three times the sample
KINDS = {
    "continuous": lambda x: x,
    "rounded": lambda x: (x * 3).round(),
    "equal": torch.zeros_like,
    "mostly zero": lambda x: torch.where(x > 1, x, 0.0),
    "signed zeros": lambda x: torch.where(x > 1, x, torch.where(x > 0, 0.0, -0.0)),
    "in order": lambda x: x.flatten().sort().values.view_as(x),
    "not finite": lambda x: torch.where(x > 1, INF, torch.where(x > 0, NAN, torch.where(x > -1, x, -INF))),
}


def sorted_highest(scores, candidates, k):
    keys = np.where(np.isnan(scores.double().numpy()), -INF, scores.double().numpy()).ravel()
    order = np.argsort(-keys, kind="stable")
    mask = torch.zeros(scores.numel(), dtype=torch.bool)
    mask[order[candidates.numpy().ravel()[order]][:k]] = True
    return mask.view_as(scores)


def drawn(kind, seed=0, shape=SHAPE):
    generator = torch.Generator().manual_seed(seed)
    scores = KINDS[kind](torch.randn(shape, generator=generator))
    return scores, torch.rand(shape, generator=generator) < 0.6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_highest_are_those_of_a_stable_sort_whatever_the_layout(kind, layout):
    scores, candidates = drawn(kind)
    for share in (0.001, 0.2, 0.97, 1.0):
        k = int(share * int(candidates.sum()))
        wanted = sorted_highest(scores, candidates, k)
        chosen = highest(scores.contiguous(memory_format=layout), candidates, k)
        assert torch.equal(chosen, wanted) and int(chosen.sum()) == k
        assert torch.equal(selection._highest_sorted(scores, candidates, k), wanted)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_types(dtype):
    scores, candidates = drawn("continuous")
    assert torch.equal(
        highest(scores.to(dtype), candidates, 999), sorted_highest(scores.to(dtype), candidates, 999)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_all_tensors_together_share_a_threshold_and_ties_go_to_the_first(kind):
    pairs = [drawn(kind, seed, (64, 32, 3, 3)) for seed in (1, 2, 3)]
    scores, candidates = [list(part) for part in zip(*pairs, strict=True)]
    pooled = torch.stack(scores), torch.stack(candidates)
    for k in (1, 500, 20_000, int(pooled[1].sum())):
        counts = num_highest(scores, candidates, k)
        assert counts == sorted_highest(*pooled, k).flatten(1).sum(1).tolist()
        above, ties = selection._num_sorted(scores, candidates, k)
        assert all(a <= n <= a + t for a, n, t in zip(above, counts, ties, strict=True)) and sum(counts) == k


def test_a_bracket_that_misses_costs_time_alone(monkeypatch):
    monkeypatch.setattr(selection, "DEVIATIONS", -0.5)
    scores, candidates = drawn("continuous")
    for k in (10, 5000, 20_000):
        assert torch.equal(highest(scores, candidates, k), sorted_highest(scores, candidates, k))


def test_more_than_there_are_is_all_of_them():
    scores, candidates = torch.randn(40), torch.arange(40) < 3
    assert highest(scores, candidates, 7).equal(candidates)
    assert not highest(scores, candidates & ~candidates, 1).any()
