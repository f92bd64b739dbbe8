"""Shrinking, ONNX and packed files give back what the masked network computes, whatever was pruned."""

import copy
import re
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from granet.deploy import shrink as export
from granet.deploy.coupling import channel_groups
from granet.deploy.latency import latencies
from granet.deploy.onnx import onnx_outputs, to_onnx
from granet.deploy.packed import load_packed, save_packed
from granet.deploy.shrink import shrink
from granet.maskable import maskable_weights
from granet.masks import apply_, random_masks
from granet.models import MODELS, build
from granet.types import Masks, UserError

IMAGE = (3, 32, 32)


def trained_like(name: str) -> Any:
    """A network in eval mode with running statistics and BatchNorm parameters that no fresh one has."""
    torch.manual_seed(0)
    model = build(name, num_classes=10)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.1)
    settle(model.eval())
    return model


@torch.no_grad()
def settle(model: nn.Module) -> None:
    """Give BatchNorm statistics near those of its inputs: else images would hardly matter after twenty layers."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    mode, momenta = model.training, [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0  # nothing is left of the old ones
    model.train()(torch.randn(8, *IMAGE))
    model.train(mode)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.running_mean += 0.1 * torch.randn_like(norm.running_mean)
        norm.running_var += 0.1 * torch.rand_like(norm.running_var)


def prune_filters(model: nn.Module, num_active: dict[str, int]) -> Masks:
    """Prune random channels of these groups: rows, columns and vectors become zero. Returns all masks."""
    weights = maskable_weights(model)
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}
    for group in channel_groups(model):
        pruned = torch.randperm(group.size)[num_active.get(group.name, group.size) :]
        for name in group.outputs:
            masks[name][pruned] = False
        for name in group.inputs:
            masks[name][:, pruned] = False
        for name in group.vectors:
            model.get_parameter(name).data[pruned] = 0
    apply_({name: weight.detach() for name, weight in weights.items()}, masks)
    settle(model)
    return masks


def half(model: nn.Module) -> dict[str, int]:
    return {group.name: group.size // 2 for group in channel_groups(model)}


def assert_same_outputs(model: nn.Module, smaller: nn.Module) -> None:
    images = torch.randn(4, *IMAGE)
    with torch.no_grad():
        expected, found = model(images), smaller(images)
    assert expected.std(0).max() > 0.01 * expected.abs().max()  # the images do matter
    assert_close(found, expected)


def assert_close(found: Tensor, expected: Tensor) -> None:
    """Within 1e-5 of the largest logit, none of which is large here."""
    largest = float(expected.detach().abs().max())
    torch.testing.assert_close(found, expected, atol=1e-5 * min(1, largest), rtol=0)


def num_weights(model: nn.Module) -> int:
    return sum(value.numel() for value in model.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_half_of_the_filters_leave_a_quarter_of_the_weights(name):
    model = trained_like(name)
    masks = prune_filters(model, half(model))
    before = copy.deepcopy(model.state_dict())
    smaller: Any = shrink(model, masks)
    assert_same_outputs(model, smaller)
    assert num_weights(smaller) / num_weights(model) == pytest.approx(0.25, abs=0.01)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())  # untouched
    for group in channel_groups(smaller):
        assert group.size == half(model)[group.name]
    assert (smaller.fc.in_features, smaller.fc.out_features) == (model.fc.in_features // 2, 10)


@pytest.mark.parametrize("name", MODELS)
def test_a_group_keeps_its_last_channel_even_where_that_is_pruned(name):
    model = trained_like(name)
    first, second, *others = (group.name for group in channel_groups(model))
    smaller = shrink(model, prune_filters(model, {first: 1, second: 0, others[-1]: 0}))
    sizes = {group.name: group.size for group in channel_groups(smaller)}
    assert (sizes[first], sizes[second], sizes[others[-1]]) == (1, 1, 1)
    with torch.no_grad():
        images = torch.randn(4, *IMAGE)
        assert_close(smaller(images), model(images))


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_filters_of_resnet20(data):
    model = trained_like("resnet20")
    groups = channel_groups(model)
    counts = {g.name: data.draw(st.integers(1, g.size), label=g.name) for g in groups}
    smaller = shrink(model, prune_filters(model, counts))
    assert {group.name: group.size for group in channel_groups(smaller)} == counts
    images = torch.randn(4, *IMAGE)  # through a single channel they may well not matter
    assert_close(smaller(images), model(images))


@pytest.mark.parametrize("name", MODELS)
def test_single_weights_leave_nothing_to_cut_out(name):
    model = trained_like(name)
    weights = {name: weight.detach() for name, weight in maskable_weights(model).items()}
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    masks = random_masks(shapes, {name: weight.numel() // 2 for name, weight in weights.items()}, seed=0)
    apply_(weights, masks)
    smaller = shrink(model, masks)
    images = torch.randn(2, *IMAGE)
    assert num_weights(smaller) == num_weights(model)
    assert torch.equal(smaller(images), model(images))


def small_net(norm: nn.Module) -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.ReLU(), nn.Conv2d(4, 2, 3)).eval()


def test_a_channel_that_is_a_constant_stays():
    """Its weights are zero, but its bias or the mean of its BatchNorm is not."""
    model = small_net(nn.BatchNorm2d(4))
    masks = prune_filters(model, {"0.weight": 2})
    dead = (~masks["0.weight"].flatten(1).any(1)).nonzero().flatten()
    smaller: Any = shrink(model, masks)
    assert smaller[0].out_channels == 2
    model[3].weight.data[:, dead[0]] = 1  # so that it does matter
    model[1].bias.data[dead[0]] = 0.5
    smaller = shrink(model, masks | {"3.weight": torch.ones_like(masks["3.weight"])})
    assert smaller[0].out_channels == 3
    assert_same_outputs(model, smaller)

    model = small_net(nn.BatchNorm2d(4, affine=False))
    masks = prune_filters(model, {"0.weight": 2})
    model[1].running_mean.fill_(-1)
    model[3].weight.data.fill_(1)
    smaller = shrink(model, {"0.weight": masks["0.weight"]})
    assert smaller[0].out_channels == 4
    assert_same_outputs(model, smaller)


def test_memory_format_modes_and_shared_weights_survive():
    model = build("resnet20", num_classes=10).to(memory_format=torch.channels_last)
    smaller: Any = shrink(model, prune_filters(model, half(model)))
    assert smaller.training
    for convolution in (smaller.conv1, smaller.layer1[0].conv1):
        assert convolution.weight.is_contiguous(memory_format=torch.channels_last)
        assert not convolution.weight.is_contiguous()

    tied = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1))
    tied[2].weight = tied[1].weight
    smaller = shrink(tied, prune_filters(tied, {"0.weight": 3}))
    assert smaller[2].weight is smaller[1].weight
    assert (smaller[1].in_channels, smaller[2].out_channels) == (3, 3)
    assert_same_outputs(tied, smaller)


def test_a_smaller_network_can_be_trained():
    model = build("resnet20", num_classes=10)
    model(torch.randn(2, *IMAGE)).sum().backward()  # gradients of the old shapes
    smaller = shrink(model, prune_filters(model, half(model)))
    smaller(torch.randn(2, *IMAGE)).sum().backward()
    assert all(value.grad.shape == value.shape for value in smaller.parameters())


ALL = torch.ones(4, 3, 3, 3, dtype=torch.bool)


@pytest.mark.parametrize(
    "masks, words",
    [
        ({"conv1.weight": ALL}, "masks: 'conv1.weight' is no weight of this model"),
        ({"0.weight": ALL[:2]}, "masks['0.weight'] is torch.bool (2, 3, 3, 3) but must be"),
        ({"0.weight": ALL.float()}, "masks['0.weight'] is torch.float32"),
        ({"0.weight": ~ALL}, "masks['0.weight']: 108 weights are not zero where it is inactive"),
    ],
)
def test_masks_of_another_network_are_refused(masks, words, tmp_path):
    model = small_net(nn.BatchNorm2d(4))
    for call in (
        lambda: shrink(model, masks),
        lambda: save_packed(tmp_path / "p", model.state_dict(), masks),
    ):
        with pytest.raises(UserError, match=re.escape(words)) as error:
            call()
        assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["resnet20", "vgg19"])
def test_onnx_file_computes_what_the_network_computes(name, tmp_path, capfd):
    model = trained_like(name)
    smaller = shrink(model, prune_filters(model, half(model))).train()
    path = tmp_path / "new" / "model.onnx"
    to_onnx(smaller, path, IMAGE)
    assert smaller.training
    smaller.eval()
    for batch_size in (1, 5):  # any other than the one that was traced
        images = torch.randn(batch_size, *IMAGE)
        with torch.no_grad():
            assert_close(onnx_outputs(path, images), smaller(images))
    assert capfd.readouterr() == ("", "")
    assert [file.name for file in path.parent.iterdir()] == ["model.onnx"]


def test_onnx_file_is_the_same_every_time_and_names_no_file_of_this_machine(tmp_path):
    contents = []
    for i in range(2):
        to_onnx(trained_like("resnet20"), tmp_path / f"{i}.onnx", IMAGE)
        contents.append((tmp_path / f"{i}.onnx").read_bytes())
    assert contents[0] == contents[1]
    assert b".py" not in contents[0]


@pytest.mark.parametrize("missing", export.ONNX_PACKAGES)
def test_a_missing_package_is_one_line(missing, monkeypatch, tmp_path):
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == missing else object())
    with pytest.raises(UserError, match=f"^ONNX files need the package {missing}; run: pip install .*$"):
        to_onnx(small_net(nn.BatchNorm2d(4)), tmp_path / "model.onnx", IMAGE)


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
    found, found_masks = load_packed(tmp_path / "packed.safetensors")
    assert all(torch.equal(found_masks[name], mask) for name, mask in masks.items())
    assert found.keys() == weights.keys() and found_masks.keys() == masks.keys()
    for name, value in weights.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
        expected = (
            value if name not in masks else torch.where(masks[name], value, 0)
        )  # no -0.0 where inactive
        assert bits(found[name]) == bits(expected), name


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


def test_latencies_tell_a_large_network_from_a_small_one():
    large, small = build("resnet20", num_classes=10, width=64), build("resnet20", num_classes=10, width=4)
    slow, fast = latencies([large, small], IMAGE, 4, time_s=0.2)
    assert 0 < fast < slow < 10
    assert large.training and small.training
