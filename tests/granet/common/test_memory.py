"""Memory of tensors that are gone serves the next ones, and never two at once."""

import gc

import pytest
import torch

from granet.common import memory
from granet.common.memory import LARGE, pooled


@pytest.fixture(autouse=True)
def _empty_pool(monkeypatch):
    monkeypatch.setattr(memory, "_free", [])


def test_a_block_serves_again_when_its_tensor_and_all_views_are_gone():
    first = pooled((4, LARGE), (1, 4), torch.float32)
    assert first._base is None
    assert first.stride() == (1, 4)
    where, view = first.data_ptr(), first[1:]
    del first
    gc.collect()
    assert pooled((4, LARGE), (LARGE, 1), torch.float32).data_ptr() != where
    view.fill_(3)
    del view
    gc.collect()
    again = [pooled((4, LARGE), (LARGE, 1), torch.float32) for _ in range(3)]
    assert where in [tensor.data_ptr() for tensor in again]
    assert len({tensor.data_ptr() for tensor in again}) == 3
    for number, tensor in enumerate(again):
        tensor.fill_(number)
    assert [float(tensor.sum()) for tensor in again] == [4 * LARGE * number for number in range(3)]


def test_a_block_is_not_wasted_on_a_small_tensor_but_makes_room_for_it():
    first, second = (pooled((size * LARGE,), (1,), torch.float32) for size in (8, 16))
    del first
    del second
    gc.collect()
    ((_, oldest), (_, other)) = memory._free
    small = pooled((LARGE,), (1,), torch.float32)
    assert [block for _, block in memory._free] == [other] and other is not oldest
    serving = pooled((15 * LARGE,), (1,), torch.float32)
    assert memory._free == [] and small.data_ptr() != serving.data_ptr()


def test_small_tensors_are_torchs_own():
    small = pooled((3, 5), (1, 3), torch.bfloat16)
    assert (small.shape, small.stride(), small.dtype) == ((3, 5), (1, 3), torch.bfloat16)
    del small
    gc.collect()
    assert memory._free == []
