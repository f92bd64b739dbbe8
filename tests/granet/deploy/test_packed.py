"""A packed file gives back every bit, and takes the space that can be counted by hand."""

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from granet.deploy.packed import load_packed, save_packed
from granet.masks import apply_
from granet.types import UserError


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_packed_file_gives_back_every_bit(dtype, tmp_path):
    torch.manual_seed(0)
    weights = {
        "conv.weight": torch.randn(5, 3, 3, 3).to(dtype).contiguous(memory_format=torch.channels_last),
        "fc.weight": torch.randn(7, 5).to(dtype),
        "fc.bias": torch.tensor([-0.0, float("nan"), float("inf")]),
        "bn.num_batches_tracked": torch.tensor(2**40),
    }
    masks = {"conv.weight": torch.rand(5, 3, 3, 3) < 0.3, "fc.weight": torch.zeros(7, 5, dtype=torch.bool)}
    apply_({name: weights[name] for name in masks}, masks)
    weights["conv.weight"][masks["conv.weight"]] = -0.0  # an active zero keeps its sign
    size = save_packed(tmp_path / "packed.safetensors", weights, masks)
    assert size == (tmp_path / "packed.safetensors").stat().st_size
    loaded, loaded_masks = load_packed(tmp_path / "packed.safetensors")
    assert all(torch.equal(loaded_masks[name], mask) for name, mask in masks.items())
    assert loaded.keys() == weights.keys() and loaded_masks.keys() == masks.keys()
    for name, value in weights.items():
        assert (loaded[name].dtype, loaded[name].shape) == (value.dtype, value.shape)
        expected = (
            value if name not in masks else torch.where(masks[name], value, 0)
        )  # no -0.0 where inactive
        assert bits(loaded[name]) == bits(expected), name


def bits(tensor: Tensor) -> list[int]:
    return tensor.contiguous().flatten().view(torch.uint8).tolist()


def test_packed_size_by_hand(tmp_path):
    """8,000 weights at 90 %: 800 values of 4 bytes and 1,000 bytes of mask, instead of 32,000 bytes."""
    mask = torch.zeros(8000, 1, dtype=torch.bool)
    mask[:800] = True
    weights = {"fc.weight": torch.randn(8000, 1) * mask}
    header = 300  # at most: names, types, shapes
    size = save_packed(tmp_path / "packed", weights, {"fc.weight": mask})
    assert 4200 < size < 4200 + header
    assert 32_000 / size == pytest.approx(7.2, abs=0.4)


def test_a_file_that_is_not_packed_is_refused(tmp_path):
    save_file({"fc.weight": torch.zeros(2)}, tmp_path / "plain.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"{")
    for name in ("plain", "broken"):
        with pytest.raises(UserError, match=rf"{name}\.safetensors is no packed file"):
            load_packed(tmp_path / f"{name}.safetensors")
