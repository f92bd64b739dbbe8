"""Forward and both gradients of the sparse kernels against torch's dense convolution in fp64."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from granet.kernels import accelerate, build, why_not
from granet.kernels.layers import SparseConv2d, is_batch_innermost
from granet.maskable import maskable_weights
from granet.models import build as build_model
from granet.types import UserError

pytestmark = pytest.mark.skipif(why_not() is not None, reason=f"no sparse kernels: {why_not()}")
TOLERANCE = 1e-5
"""Of the norm."""


def masked(conv: nn.Conv2d, density: float, seed: int = 0) -> Tensor:
    """A random mask; the weight is zero outside."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(conv.weight.shape, generator=generator) < density
    with torch.no_grad():
        conv.weight.mul_(mask)
    return mask


def distance(a: Tensor, b: Tensor) -> float:
    a, b = a.detach().double(), b.detach().double()
    return float((a - b).norm() / b.norm().clamp(min=1e-6))


def passes(model: nn.Module, x: Tensor, seed: int) -> list[Tensor]:
    """The output, and the gradients of input, weight and bias for random gradients of the output."""
    x = x.clone().requires_grad_()
    y = model(x)
    gradient = torch.randn(y.shape, generator=torch.Generator().manual_seed(seed)).to(y.dtype)
    y.backward(gradient)
    return [y.detach(), x.grad, *(p.grad for p in model.parameters())]  # type: ignore[list-item]


@given(
    images=st.integers(1, 150),
    channels=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    kernel=st.sampled_from([(1, 1), (3, 3), (7, 7), (1, 3), (5, 2)]),
    stride=st.sampled_from([1, 2, 3]),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    density=st.sampled_from([0.0, 0.02, 0.1, 0.5, 1.0]),
    bias=st.booleans(),
    channels_last=st.booleans(),
)
def test_forward_and_gradients_are_those_of_dense_arithmetic(
    images, channels, size, kernel, stride, padding, density, bias, channels_last
):
    if any(n + 2 * p < k for n, p, k in zip(size, padding, kernel, strict=True)):
        return
    torch.manual_seed(0)
    conv = nn.Conv2d(channels[0], channels[1], kernel, stride, padding, bias=bias)
    mask = masked(conv, density)
    exact = copy.deepcopy(conv).double()
    if channels_last:
        conv.to(memory_format=torch.channels_last)
    model = nn.Sequential(conv)
    assert accelerate(model, {"0.weight": mask}) == {}
    x = torch.randn(images, channels[0], *size)
    y, of_x, of_weight, *of_bias = passes(model, x, 1)
    exact_y, exact_x, exact_weight, *exact_bias = passes(exact, x.double(), 1)
    assert y.shape == exact_y.shape
    assert distance(y, exact_y) < TOLERANCE
    assert distance(of_x, exact_x) < TOLERANCE
    assert distance(of_weight, exact_weight * mask) < TOLERANCE
    assert not of_weight[~mask].any()
    assert of_weight.stride() == conv.weight.stride()
    for a, b in zip(of_bias, exact_bias, strict=True):
        assert distance(a, b) < TOLERANCE


def in_bf16(model: nn.Module):
    """Its forward under autocast."""

    def forward(x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return model(x)

    return forward


@given(
    images=st.integers(1, 150),
    channels=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    kernel=st.sampled_from([(1, 1), (3, 3), (7, 7), (5, 2)]),
    stride=st.sampled_from([1, 2, 3]),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    density=st.sampled_from([0.0, 0.02, 0.1, 1.0]),
)
def test_in_bf16_only_what_is_read_and_written_is_rounded(
    images, channels, size, kernel, stride, padding, density
):
    if any(n + 2 * p < k for n, p, k in zip(size, padding, kernel, strict=True)):
        return
    torch.manual_seed(0)
    conv = nn.Conv2d(channels[0], channels[1], kernel, stride, padding)
    mask = masked(conv, density)
    exact = copy.deepcopy(conv).double()
    with torch.no_grad():
        exact.weight.copy_(conv.weight.bfloat16())
    model = nn.Sequential(conv)
    accelerate(model, {"0.weight": mask})
    x = torch.randn(images, channels[0], *size).bfloat16().float()
    x.requires_grad_()
    y = in_bf16(model)(x)
    assert y.dtype == torch.bfloat16
    gradient = torch.randn(y.shape).bfloat16()
    y.backward(gradient)
    exact_x = x.detach().double().requires_grad_()
    exact_y = exact(exact_x)
    exact_y.backward(gradient.double())
    # rounding to 8 bits is at most 2^-9 of each number; sums are in fp32
    assert distance(y, exact_y) < 2**-8
    assert distance(x.grad, exact_x.grad) < 2**-8
    assert distance(conv.weight.grad, exact.weight.grad.mul(mask)) < 1e-4
    assert distance(conv.bias.grad, exact.bias.grad) < 1e-4


def test_a_network_in_bf16_is_as_exact_as_dense_arithmetic_in_bf16():
    torch.manual_seed(0)
    model = build_model("vgg19", num_classes=10).to(memory_format=torch.channels_last)
    masks = {n: torch.rand(w.shape) < 0.1 for n, w in maskable_weights(model).items() if w.dim() == 4}
    with torch.no_grad():
        for name, mask in masks.items():
            model.get_parameter(name).mul_(mask)
    dense, exact = copy.deepcopy(model), copy.deepcopy(model).double()
    accelerate(model, masks)
    x, labels = torch.randn(64, 3, 32, 32), torch.arange(64) % 10
    outputs = [forward(x) for forward in (in_bf16(model), in_bf16(dense))]
    expected = exact(x.double())
    ours, theirs = (distance(y, expected) for y in outputs)
    assert ours < 1.2 * theirs
    for y, net in zip((*outputs, expected), (model, dense, exact), strict=True):
        cross_entropy(y.float() if net is not exact else y, labels).backward()

    def of_weights(net):
        return torch.cat([net.get_parameter(n).grad[m] for n, m in masks.items()])

    ours, theirs = (distance(of_weights(net), of_weights(exact)) for net in (model, dense))
    assert ours < 1.2 * theirs
    for a, b in zip(model.buffers(), dense.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=0.05, atol=0.02)


@pytest.mark.parametrize("name", ["resnet20", "vgg19", "resnet50_cifar"])
def test_a_whole_network_computes_what_it_did(name):
    torch.manual_seed(0)
    model = build_model(name, num_classes=10)
    masks = {
        name: torch.rand(weight.shape) < 0.1
        for name, weight in maskable_weights(model).items()
        if weight.dim() == 4
    }
    with torch.no_grad():
        for weight, mask in masks.items():
            model.get_parameter(weight).mul_(mask)
    exact = copy.deepcopy(model).double()
    names = list(model.state_dict())
    assert accelerate(model, masks) == {}
    assert list(model.state_dict()) == names
    assert sum(isinstance(module, SparseConv2d) for module in model.modules()) == len(masks)
    x, labels = torch.randn(20, 3, 32, 32), torch.arange(20) % 10
    for each, images in ((model, x), (exact, x.double())):
        cross_entropy(each(images), labels).backward()
    # softmax of untrained networks in fp32: rounding grows on the way back through 50 layers
    assert distance(model(x), exact(x.double())) < 1e-4
    for weight, mask in masks.items():
        of_weight = model.get_parameter(weight).grad
        assert of_weight is not None
        assert not of_weight[~mask].any()
    norms = [(model.get_parameter(n).grad, exact.get_parameter(n).grad * m) for n, m in masks.items()]  # type: ignore[operator]
    assert (
        distance(torch.cat([a.flatten() for a, _ in norms]), torch.cat([b.flatten() for _, b in norms]))
        < 0.02
    )  # type: ignore[union-attr]
    model.eval()
    exact.eval()
    assert distance(model(x), exact(x.double())) < 1e-4
    with torch.no_grad():
        assert distance(model(x), exact(x.double())) < 1e-4


def test_the_memory_stays_batch_innermost():
    seen = []
    model = build_model("vgg19", num_classes=10)
    masks = {
        n: torch.ones_like(w, dtype=torch.bool) for n, w in maskable_weights(model).items() if w.dim() == 4
    }
    accelerate(model, masks)
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.ReLU)):
            module.register_forward_hook(lambda _m, _i, out: seen.append(is_batch_innermost(out)))
    model(torch.randn(4, 3, 32, 32))
    assert all(seen[:-1])  # the last ones are of 2 x 2 pixels, and still in order
    assert len(seen) == 3 * 16 + 4


def test_the_same_threads_give_the_same_bits():
    torch.manual_seed(0)
    conv = nn.Conv2d(32, 32, 3, padding=1)
    model, x = nn.Sequential(conv), torch.randn(33, 32, 9, 9)
    accelerate(model, {"0.weight": masked(conv, 0.1)})
    first = passes(model, x, 1)
    for parameter in model.parameters():
        parameter.grad = None
    assert all(a.equal(b) for a, b in zip(first, passes(model, x, 1), strict=True))


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", [(33, 5, 7, 9), (128, 3, 16, 16), (7, 4, 3, 1)])
def test_normalisation_is_that_of_torch(shape, relu):
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Conv2d(shape[1], shape[1], 1), nn.BatchNorm2d(shape[1]))
    ours += nn.Sequential(nn.ReLU(inplace=True)) if relu else nn.Sequential()
    nn.init.uniform_(ours[1].weight, 0.5, 1.5)
    nn.init.uniform_(ours[1].bias)
    exact = copy.deepcopy(ours).double()
    accelerate(ours, {"0.weight": torch.ones_like(ours[0].weight, dtype=torch.bool)})
    x = 3 + 2 * torch.randn(shape)
    for _ in range(2):
        for a, b in zip(passes(ours, x, 1), passes(exact, x.double(), 1), strict=True):
            assert distance(a, b) < TOLERANCE or b.norm() < 1e-6  # the bias before a norm gets no gradient
    for a, b in zip(ours.buffers(), exact.buffers(), strict=True):
        torch.testing.assert_close(a.double(), b.double())
    expected = exact.eval()(x.double())
    assert distance(ours.eval()(x), expected) < TOLERANCE
    with torch.no_grad():
        assert distance(ours(x), expected) < TOLERANCE


@pytest.mark.parametrize("shape", [(33, 5, 7, 9), (128, 3, 16, 16), (7, 4, 3, 1)])
def test_normalisation_in_bf16_has_its_statistics_in_fp32(shape):
    torch.manual_seed(0)
    channels = shape[1]
    ours = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU())
    nn.init.dirac_(ours[0].weight)  # type: ignore[arg-type]
    nn.init.uniform_(ours[1].weight, 0.5, 1.5)
    nn.init.uniform_(ours[1].bias)
    exact = copy.deepcopy(ours).double()
    accelerate(ours, {"0.weight": torch.eye(channels)[:, :, None, None] > 0})
    x = (3 + 2 * torch.randn(shape)).bfloat16().float()
    gradient = torch.randn(shape).bfloat16()
    y, expected = in_bf16(ours)(x), exact(x.double())
    y.backward(gradient)
    expected.backward(gradient.double())
    assert distance(y, expected) < 2**-8
    for a, b in zip(ours.buffers(), exact.buffers(), strict=True):
        torch.testing.assert_close(a.double(), b.double())
    for a, b in zip(ours[1].parameters(), exact[1].parameters(), strict=True):
        assert (
            distance(a.grad, b.grad) < 1e-2
        )  # where the output is 0 but for rounding, a gradient passes or not
    with torch.no_grad():
        assert distance(in_bf16(ours.eval())(x), exact.eval()(x.double())) < 2**-8


def one_convolution() -> tuple[nn.Sequential, nn.Conv2d, Tensor, Tensor]:
    """A network of one layer on the sparse kernels, that layer, its mask, and images."""
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 8, 3)
    mask = masked(conv, 0.5)
    model = nn.Sequential(conv)
    accelerate(model, {"0.weight": mask})
    return model, conv, mask, torch.randn(4, 8, 8, 8)


def test_a_mask_that_changes_is_followed():
    model, conv, mask, x = one_convolution()
    model(x)
    mask.logical_and_(torch.rand(mask.shape) < 0.5)
    with torch.no_grad():
        conv.weight.mul_(mask)
    expected = nn.functional.conv2d(x.double(), conv.weight.double(), conv.bias.double())  # type: ignore[union-attr]
    assert distance(model(x), expected) < TOLERANCE


def test_a_deep_copy_has_masks_of_its_own_until_it_is_given_others():
    model, conv, mask, x = one_convolution()
    expected = model(x)
    other, its = copy.deepcopy((model, mask))
    with torch.no_grad():
        conv.weight.mul_(mask.zero_())
    assert torch.equal(other(x), expected)
    accelerate(other, {"0.weight": its})
    with torch.no_grad():
        other.get_parameter("0.weight").mul_(its.logical_and_(torch.rand(its.shape) < 0.5))
    weight, bias = other.get_parameter("0.weight"), other.get_parameter("0.bias")
    assert not torch.equal(other(x), expected)
    assert distance(other(x), nn.functional.conv2d(x.double(), weight.double(), bias.double())) < TOLERANCE


def test_it_can_be_called_again_for_other_masks():
    model, conv, mask, x = one_convolution()
    other = ~mask
    with torch.no_grad():
        conv.weight.copy_(torch.randn_like(conv.weight) * other)
    assert accelerate(model, {"0.weight": other}) == {}
    assert (
        distance(model(x), nn.functional.conv2d(x.double(), conv.weight.double(), conv.bias.double()))
        < TOLERANCE
    )


def test_layers_that_the_next_call_does_not_name_are_ordinary_again():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3))
    masks = {name: masked(model.get_submodule(name[0]), 0.3) for name in ("0.weight", "3.weight")}
    accelerate(model, masks)
    with torch.no_grad():
        model.get_parameter("3.weight").normal_()
    expected = nn.Sequential(*(copy.deepcopy(model)[:3]), nn.Conv2d(8, 8, 3))
    expected[3].load_state_dict(model[3].state_dict())
    x = torch.randn(4, 3, 8, 8)
    assert accelerate(model, {"0.weight": masks["0.weight"]}) == {}
    assert type(model[3]) is nn.Conv2d
    torch.testing.assert_close(model(x), expected(x))


def test_an_empty_batch_changes_nothing():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
    accelerate(model, {"0.weight": masked(model[0], 0.5)})
    model(torch.randn(4, 3, 8, 8))
    before = copy.deepcopy(model.state_dict())
    y = model(torch.empty(0, 3, 8, 8))
    y.sum().backward()
    assert y.shape == (0, 8, 4, 4)
    del before["1.num_batches_tracked"]
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_a_second_derivative_is_refused():
    model, _, _, x = one_convolution()
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(model(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.square().sum().backward()


def test_lists_of_a_copy_are_made_of_its_own_mask():
    """Versions of a copied mask begin anew, and may come to that of the lists that the original had."""
    model, _, mask, x = one_convolution()
    mask.logical_and_(mask)
    model(x)
    other, its = copy.deepcopy((model, mask))
    weight = other.get_parameter("0.weight")
    for _ in range(4):
        with torch.no_grad():
            weight.copy_(torch.randn_like(weight) * its.copy_(torch.rand(its.shape) < 0.3))
        expected = nn.functional.conv2d(x.double(), weight.double(), other.get_parameter("0.bias").double())
        assert distance(other(x), expected) < TOLERANCE


def test_a_weight_that_moves_in_memory_or_changes_its_type_is_followed():
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 6, 3)
    model, x = nn.Sequential(conv), torch.randn(4, 8, 8, 8)
    accelerate(model, {"0.weight": masked(conv, 0.3)})
    expected = model(x)
    for order in (torch.channels_last, torch.contiguous_format):
        model.to(memory_format=order)
        assert distance(model(x), expected) < TOLERANCE
    assert distance(model.double()(x.double()), expected) < TOLERANCE
    assert distance(model.float()(x), expected) < TOLERANCE


def test_the_dense_gradient_comes_where_it_is_read():
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 8, 3, stride=2, padding=1)
    mask = masked(conv, 0.2)
    exact, x, wanted = copy.deepcopy(conv).double(), torch.randn(4, 8, 9, 9), [True]
    model = nn.Sequential(conv)
    accelerate(model, {"0.weight": mask}, reads_gradient=lambda: wanted[0])
    dense = passes(exact, x.double(), 1)[2]
    assert distance(passes(model, x, 1)[2], dense) < TOLERANCE
    wanted[0] = False
    conv.weight.grad = None
    assert distance(passes(model, x, 1)[2], dense * mask) < TOLERANCE


def test_what_the_kernels_do_not_know_stays_dense_by_name():
    model = nn.ModuleDict(
        {
            "groups": nn.Conv2d(4, 4, 3, groups=2),
            "dilation": nn.Conv2d(4, 4, 3, dilation=2),
            "stride": nn.Conv2d(4, 4, 3, stride=(1, 2)),
            "same": nn.Conv2d(4, 4, 3, padding="same"),
            "circular": nn.Conv2d(4, 4, 3, padding_mode="circular"),
            "linear": nn.Linear(4, 4),
            "conv": nn.Conv2d(4, 4, 3),
        }
    )
    masks = {
        f"{name}.weight": torch.ones_like(layer.weight, dtype=torch.bool) for name, layer in model.items()
    }  # type: ignore[arg-type]
    assert accelerate(model, masks) == {
        "groups.weight": "groups=2",
        "dilation.weight": "dilation=(2, 2)",
        "stride.weight": "stride=(1, 2)",
        "same.weight": "padding=same",
        "circular.weight": "padding_mode=circular",
        "linear.weight": "a Linear, no Conv2d",
    }


def test_what_does_not_fit_is_refused_as_by_torch():
    conv = nn.Conv2d(3, 8, 3)
    model = nn.Sequential(conv)
    accelerate(model, {"0.weight": masked(conv, 0.5)})
    for shape in ((2, 1, 8, 8), (2, 4, 8, 8), (2, 3, 2, 2)):
        with pytest.raises(ValueError, match=r"does not fit weight \(8, 3, 3, 3\)"):
            model(torch.randn(shape))


def test_nan_comes_through():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    accelerate(model, {"0.weight": torch.ones_like(model[0].weight, dtype=torch.bool)})
    x = torch.randn(2, 3, 8, 8)
    x[0, 0, 4, 4] = torch.nan
    assert model(x).isnan().all()  # through the statistics
    with torch.no_grad():
        nans = model.eval()(x).isnan()
    assert (nans[0].any() and not nans[1].any()) or nans.all()


def test_a_network_that_was_rounded_computes_as_torch_does():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).eval()
    x = torch.randn(1, 3, 8, 8).bfloat16()
    expected = copy.deepcopy(model).bfloat16()(x)
    accelerate(model, {"0.weight": torch.ones_like(model[0].weight, dtype=torch.bool)})
    with torch.no_grad():
        torch.testing.assert_close(model.bfloat16()(x), expected)


def test_without_a_compiler_one_line_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    build.load.cache_clear()
    with pytest.raises(
        UserError, match=r"no sparse kernels on this machine: there is no C\+\+ compiler; install"
    ):
        accelerate(nn.Linear(2, 2), {})
    monkeypatch.setenv("CXX", "false")
    build.load.cache_clear()
    assert "false failed" in str(why_not())
    monkeypatch.undo()
    build.load.cache_clear()
    assert why_not() is None


def test_it_compiles_for_the_machine_once(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    build.load.cache_clear()
    assert why_not() is None
    (library,) = (tmp_path / "granet").iterdir()
    made = library.stat().st_mtime_ns
    build.load.cache_clear()
    assert why_not() is None
    assert library.stat().st_mtime_ns == made
    monkeypatch.undo()
    build.load.cache_clear()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # read by the compiler itself
def test_torch_compile_sees_operators_and_shapes():
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
    model, x = nn.Sequential(conv, nn.BatchNorm2d(8), nn.ReLU()), torch.randn(4, 3, 9, 9)
    accelerate(model, {"0.weight": masked(conv, 0.3)})
    expected = passes(model, x, 1)
    for parameter in model.parameters():
        parameter.grad = None
    compiled = passes(torch.compile(model, backend="aot_eager"), x, 1)  # type: ignore[arg-type]
    assert all(distance(a, b) < TOLERANCE for a, b in zip(compiled, expected, strict=True))


def test_what_torch_does_with_odd_inputs_is_done_here_too():
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 8, 3, padding=1)
    net = nn.Sequential(conv, nn.BatchNorm2d(8), nn.MaxPool2d(2, return_indices=True))
    mask, images = masked(conv, 0.3), torch.randn(5, 4, 6, 6)
    expected, places = copy.deepcopy(net)(images)
    single = conv(images[0])
    accelerate(net, {"0.weight": mask})
    found, indices = net(images)
    assert distance(found, expected.double()) < TOLERANCE and torch.equal(indices, places)
    assert distance(conv(images[0]), single.double()) < TOLERANCE
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        net(torch.randn(1, 4, 1, 1))
