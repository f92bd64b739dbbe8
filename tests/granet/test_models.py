"""The table of models: sizes from the papers, shapes, and reproducible building."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from granet.models import MODELS
from granet.models import build as build_module
from granet.types import UserError
from tests.helpers.networks import OF_THE_PAPER

# name: (weights of convolutions and linear layers at 10 classes, tensors they are in)
MASKABLE = {
    # 432 + 6*2304 + 4608 + 5*9216 + 18432 + 5*36864 + 640 by hand, + projections 16*32 + 32*64; "0.27M" in
    # Table 6 of He et al. 2016
    "resnet20": (268_336 + 2_560, 22),
    "vgg19": (20_024_000, 17),  # 3*64*9 + ... + 512*512*9 over 16 convolutions, + 512*10
    "resnet50_cifar": (23_467_712, 54),  # GraNet's CIFAR network
    "resnet50": (25_502_912 - 990 * 2048, 54),  # torchvision: 25,557,032 less 53,120 of BN and 1,000 of bias
}

WRN = 432 + (4608 + 5 * 9216) + (18432 + 5 * 36864) + (73728 + 5 * 147456) + (512 + 2048 + 8192) + 1280
"""Stem, three stages of three blocks at 32, 64 and 128 channels, three projections, classifier: RigL's 22-2."""
OTHERS = {
    # 432 + 10*2304 + 4608 + 9*9216 + 18432 + 9*36864 + 640 by hand, + projections 2560; "0.46M" in He et al. 2016
    "resnet32": (461_872 + 2_560, 34),
    "resnet56": (848_944 + 2_560, 58),  # 432 + 18*2304 + 4608 + 17*9216 + 18432 + 17*36864 + 640; "0.85M"
    "wrn22_2": (WRN, 23),
    "vgg11": (9_222_848, 9),  # 1,728 + 73,728 + 294,912 + 589,824 + 1,179,648 + 3*2,359,296 + 5,120
    "vgg16": (14_715_584, 14),
    "mobilenet_v2_cifar": (
        2_202_560,
        53,
    ),  # torchvision: 3,504,872 less 34,112 of BN, 1,000 of bias, 990 * 1280
    "mobilenet_v2": (3_504_872 - 34_112 - 1_000 - 990 * 1280, 53),
    "resnet18": (11_689_512 - 9_600 - 1_000 - 990 * 512, 21),  # torchvision's model card less BN and bias
    "resnet34": (21_797_672 - 17_024 - 1_000 - 990 * 512, 37),
    "resnet18_cifar": (11_172_032 - 64 * 3 * (49 - 9), 21),
    "resnet34_cifar": (21_272_768 - 64 * 3 * (49 - 9), 37),
}


def build(name: str, **kw) -> Any:
    """Typed Any, so that tests can name the layers of a model."""
    return build_module(name, **kw)


@pytest.fixture(scope="module", params=OF_THE_PAPER)
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(name: str) -> Any:
    torch.manual_seed(0)
    return build(name, num_classes=10)


def weights(model: nn.Module) -> list[Tensor]:
    return [m.weight for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def test_maskable_weights(name, model):
    assert (sum(w.numel() for w in weights(model)), len(weights(model))) == MASKABLE[name]


def test_convolutions_have_no_bias_and_the_classifier_has_one_but_for_resnet50_on_cifar(name, model):
    assert all(m.bias is None for m in model.modules() if isinstance(m, nn.Conv2d))
    assert isinstance(model.fc, nn.Linear) and (model.fc.bias is None) == (name == "resnet50_cifar")
    assert sum(isinstance(m, nn.Linear) for m in model.modules()) == 1


@pytest.mark.parametrize("height, width", [(32, 32), (47, 40), (64, 64)])
def test_logits(model, height, width):
    model.train()
    assert model(torch.rand(2, 3, height, width)).shape == (2, 10)


def test_channels_last_changes_nothing(model):
    images_NCHW = torch.rand(2, 3, 32, 32)
    model.eval()
    with torch.no_grad():
        expected = model(images_NCHW)
        model.to(memory_format=torch.channels_last)
        logits = model(images_NCHW.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-4)


def test_every_parameter_gets_a_finite_gradient(model):
    model.train().zero_grad()
    model(torch.rand(2, 3, 32, 32)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_the_seed_decides_the_weights():
    def drawn(name, seed):
        torch.manual_seed(seed)
        return torch.cat([w.flatten() for w in weights(build(name, num_classes=10))])

    for name in OF_THE_PAPER:
        first = drawn(name, 0)
        assert torch.equal(first, drawn(name, 0)), name
        assert not torch.equal(first, drawn(name, 1)), name


def test_the_table_is_tested_whole():
    assert set(MODELS) == {*OF_THE_PAPER, *OTHERS}


@pytest.mark.parametrize("name", OTHERS)
def test_sizes_and_logits_of_the_other_rows(name):
    with torch.device("meta"):
        model = build(name, num_classes=10)
        assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    assert (sum(w.numel() for w in weights(model)), len(weights(model))) == OTHERS[name]


@pytest.mark.parametrize(
    ("name", "last", "resolution"),
    [("resnet56", 6, 8), ("wrn22_2", 4, 8), ("vgg11", 1, 2), ("mobilenet_v2_cifar", None, 4)],
)
def test_the_resolution_before_the_pooling(name, last, resolution):
    """Of 32 x 32 images: a quarter in thin and wide ResNets, an eighth in MobileNetV2, a sixteenth in VGG."""
    with torch.device("meta"):
        model = build(name, num_classes=10)
        features = model.features if last is None else model[:last]
        assert features(torch.rand(1, 3, 32, 32)).shape[-1] == resolution


def test_wide_resnet_learns_from_its_shortcut():
    """A block whose convolutions are zero passes its input on, or its projection of the activated input."""
    torch.manual_seed(0)
    model = build("wrn22_2", num_classes=10).eval()
    images = torch.randn(2, 32, 8, 8)
    same, changed = model.layer1[1], model.layer2[0]
    for block in (same, changed):
        nn.init.zeros_(block.conv2.weight)
    assert torch.equal(same(images), images)
    expected = changed.shortcut(changed.bn1(images).relu())
    assert torch.equal(changed(images), expected) and expected.shape == (2, 64, 4, 4)


def test_imagenet_resnet50_is_torchvisions():
    model = build("resnet50", num_classes=1000)
    assert sum(p.numel() for p in model.parameters()) == 25_557_032  # torchvision's model card
    assert model.layer2[0].conv1.stride == (1, 1) and model.layer2[0].conv2.stride == (2, 2)  # v1.5


def test_cifar_resnet50_keeps_the_resolution_in_its_stem():
    model = build("resnet50_cifar", num_classes=10)
    assert model.conv1.weight.shape == (64, 3, 3, 3)
    stem = model.maxpool(model.conv1(torch.rand(1, 3, 32, 32)))
    assert stem.shape == (1, 64, 32, 32)
    assert model.layer2[0].conv1.stride == (1, 1) and model.layer2[0].conv2.stride == (2, 2)


def test_resnet20_stages_and_projections():
    model = build("resnet20", num_classes=10)
    images_NCHW = torch.rand(1, 3, 32, 32)
    shapes = [tuple(model[:stop](images_NCHW).shape[1:]) for stop in (4, 5, 6)]
    assert shapes == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]  # He et al. 2016, Section 4.2
    projections = [
        n for n, m in model.named_modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)
    ]
    assert projections == ["layer2.0.downsample.0", "layer3.0.downsample.0"]


def test_vgg19_layers():
    model = build("vgg19", num_classes=10)
    kinds = [type(m) for m in model.modules()]
    assert kinds.count(nn.Conv2d) == kinds.count(nn.BatchNorm2d) == 16
    assert kinds.count(nn.MaxPool2d) == 4


INITS = {  # model: (how its convolutions start, standard deviation of its classifier's weights)
    "vgg19": ("fan_out", 0.01),
    "resnet20": ("fan_in", (2 / 64) ** 0.5),
    "resnet50_cifar": ("torch", (1 / 3 / 2048) ** 0.5),
    "resnet50": ("fan_in", (1 / 3 / 2048) ** 0.5),
}


def spread(weight_OIHW: Tensor, init: str) -> float:
    """The standard deviation: kaiming sqrt(2 / fan); torch's U(-b, b) with b = 1 / sqrt(fan-in), b / sqrt(3)."""
    outputs, inputs, height, width = weight_OIHW.shape
    fan_in, fan_out = inputs * height * width, outputs * height * width
    return {"fan_in": 2 / fan_in, "fan_out": 2 / fan_out, "torch": 1 / 3 / fan_in}[init] ** 0.5


def assert_moments(weight: Tensor, std: float) -> None:
    """Mean 0 and this standard deviation, up to five of their own standard errors."""
    error = 5 / weight.numel() ** 0.5
    assert weight.mean().item() == pytest.approx(0, abs=error * std)
    assert weight.std().item() == pytest.approx(std, rel=error)


@pytest.mark.parametrize("init", [None, "fan_in", "fan_out", "torch"])
def test_how_every_layer_starts(name, init):
    """The released runs' for both ResNet-50: fan-in on ImageNet, torch's own on CIFAR (fidelity); or what is asked."""
    torch.manual_seed(0)
    model = build(name, num_classes=10, init=init)
    own, std = INITS[name]
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            assert_moments(layer.weight, spread(layer.weight, init or own))
    assert_moments(model.fc.weight, std)


def test_torchs_own_start_is_uniform_and_kaimings_is_normal():
    torch.manual_seed(0)
    uniform = build("resnet50_cifar", num_classes=10).layer1[0].conv2.weight.flatten()
    normal = build("resnet50", num_classes=10).layer1[0].conv2.weight.flatten()
    kurtosis = [((w / w.std()) ** 4).mean().item() for w in (uniform, normal)]
    assert kurtosis == pytest.approx([1.8, 3.0], abs=0.2)
    assert uniform.abs().max() <= (64 * 9) ** -0.5


def test_an_unknown_start_is_refused():
    with pytest.raises(UserError, match=r"init='fan'.*fan_in, fan_out, torch$"):
        build("resnet20", num_classes=10, init="fan")


def test_the_builder_takes_keywords():
    assert build("resnet20", num_classes=10, width=4).fc.weight.shape == (10, 16)


def test_unknown_name():
    with pytest.raises(UserError, match=r"'resnet21'.*resnet20, vgg19, .*torchvision.NAME, timm.NAME$"):
        build("resnet21", num_classes=10)
