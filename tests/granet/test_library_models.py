"""Networks of torchvision and timm by their names: they take GraNet, and their FLOPs are those of torch's own counter.

`torch.utils.flop_counter` counts matrix products, attention's and convolutions, a multiply-add as 2 FLOPs, as we do;
it leaves average pooling out, which we count.
"""

import importlib
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from granet import METHODS, Sparsifier
from granet.flops import inference_flops
from granet.models import build as build_module
from granet.models import library, plain
from granet.types import UserError
from tests.helpers.loops import turn

SMALL_VIT = {"patch_size": 8, "embed_dim": 96, "depth": 3}
TEN: dict[str, tuple[int, dict[str, Any]]] = {  # timm's name: (pixels, arguments that make it small)
    "vit_tiny_patch16_224": (32, SMALL_VIT),
    "deit_tiny_distilled_patch16_224": (32, SMALL_VIT),
    "swin_tiny_patch4_window7_224": (
        32,
        {"embed_dim": 24, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 4, 8)},
    ),
    "mixer_s32_224": (32, {}),
    "convnext_atto": (32, {"dims": (16, 32, 64, 128), "depths": (1, 1, 2, 1)}),
    "mobilenetv3_small_050": (32, {}),
    "efficientnet_lite0": (32, {}),
    "regnetx_002": (32, {}),
    "resnet10t": (32, {}),
    "mobilevit_xxs": (32, {}),  # convolutions and attention in one
}
POOLINGS = (nn.AvgPool2d, nn.AdaptiveAvgPool2d)
STEPS = 20


def build(name: str, **kw: Any) -> Any:
    torch.manual_seed(0)
    return build_module(name, num_classes=10, **kw)


def counted(model: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """What torch's counter says of one image; of attention on CPUs torch 2.11 counts the plain form alone."""
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        device = next(model.parameters()).device
        model.eval()(torch.zeros(1, *image_shape, device=device))
    return counter.get_total_flops()


def poolings(model: nn.Module, layers: dict[str, int]) -> int:
    modules = dict(model.named_modules())
    return sum(flops for name, flops in layers.items() if isinstance(modules.get(name), POOLINGS))


@pytest.mark.parametrize("name", TEN)
def test_granet_takes_90_percent_of_a_timm_model_and_its_flops_are_torchs(name):
    pytest.importorskip("timm")
    size, kw = TEN[name]
    model = build(f"timm.{name}", image_size=size, **kw)
    dense = inference_flops(model, (3, size, size))
    optimizer = torch.optim.SGD(model.parameters(), 0.001, momentum=0.9)
    method = METHODS["granet"](sf=0.9, update_interval=6)
    sparsifier = Sparsifier(model, optimizer, method, seed=0, total_steps=STEPS)
    model.train()
    for _ in range(STEPS):
        images, labels = torch.randn(4, 3, size, size), torch.randint(10, (4,))
        turn(cross_entropy(model(images), labels), optimizer, sparsifier)

    sizes = {weight: mask.numel() for weight, mask in sparsifier.masks.items()}
    assert sum(sparsifier.num_active.values()) == round(0.1 * sum(sizes.values()))
    for weight, mask in sparsifier.masks.items():
        assert not model.get_parameter(weight)[~mask].any(), weight
    expected = counted(model, (3, size, size))
    assert dense.total - poolings(model, dense.layers) == expected
    assert dense.total == pytest.approx(expected, rel=0.01)
    sparse = dense.at(sparsifier.layer_sparsity)
    for weight in sizes:
        share = sparsifier.num_active[weight] / sizes[weight]
        assert sparse.layers[weight] == round(dense.layers[weight] * share), weight
    for other in dense.layers.keys() - sizes.keys():  # products within attention, poolings
        assert sparse.layers[other] == dense.layers[other]


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("torchvision.mobilenet_v2", 64),
        ("torchvision.vit_b_16", 32),
        ("torchvision.shufflenet_v2_x0_5", 64),
        ("torchvision.swin_v2_t", 64),
        ("torchvision.regnet_y_400mf", 64),
        ("timm.beit_base_patch16_224", 32),  # makes its queries by a functional, with the layer's weight
        ("timm.coatnet_nano_rw_224", 64),
        ("timm.resnext50_32x4d_cifar", 32),  # groups
    ],
)
def test_flops_are_torchs(name, size):
    if name.startswith("timm"):
        pytest.importorskip("timm")
    with torch.device("meta"):
        model = build(name, image_size=size)
    dense = inference_flops(model, (3, size, size))
    assert dense.total - poolings(model, dense.layers) == counted(model, (3, size, size))
    matrices = [f"{n}.weight" for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert all(dense.layers[matrix] > 0 for matrix in matrices)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("resnet18_cifar", (64, 32, 32)),
        ("torchvision/resnet34_cifar", (64, 32, 32)),
        ("timm.resnet10t_cifar", (64, 32, 32)),
        ("resnet18", (64, 8, 8)),
    ],
)
def test_a_stem_for_small_images(name, stem):
    if name.startswith("timm"):
        pytest.importorskip("timm")
    model = build(name)
    assert model.maxpool(model.conv1(torch.rand(1, 3, 32, 32))).shape[1:] == stem
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(
    ("name", "weight", "shape"),
    [
        ("torchvision.vit_b_32", "encoder.pos_embedding", (1, 1 + 4, 768)),
        ("timm.vit_tiny_patch16_224", "pos_embed", (1, 1 + 16, 192)),
    ],
)
def test_a_vit_is_made_for_the_size_of_the_images(name, weight, shape):
    if name.startswith("timm"):
        pytest.importorskip("timm")
    with torch.device("meta"):
        assert build(name, image_size=64).get_parameter(weight).shape == shape


def test_the_seed_decides_the_weights_and_init_those_of_convolutions():
    first, again = build("torchvision.mobilenet_v2"), build("torchvision/mobilenet_v2")
    other = build("torchvision.mobilenet_v2", init="fan_in")
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert not torch.equal(first.features[0][0].weight, other.features[0][0].weight)


def test_one_output_in_training_too():
    with torch.device("meta"):
        model = build("torchvision.googlenet")
        assert model.train()(torch.rand(2, 3, 64, 64)).shape == (2, 10)


def test_a_slash_becomes_a_point():
    assert plain("timm/a_b.c") == "timm.a_b.c"
    assert plain("other/model") == "other/model"


@pytest.mark.parametrize(
    ("name", "kw", "message"),
    [
        (
            "torchvision.resnet19",
            {},
            r"'torchvision.resnet19' is unknown to torchvision; did you mean torchvis",
        ),
        ("torchvision.zzz", {}, r"unknown to torchvision; torchvision.list_models\(\) has the names$"),
        ("torchvision.fcn_resnet50", {}, "unknown to torchvision"),  # it segments
        ("torchvision.resnet18", {"depth": 3}, "'torchvision.resnet18' cannot be built: .*depth"),
        ("torchvision.vit_b_16", {"image_size": 30}, "cannot be built for images of 30 pixels"),
        (
            "torchvision.squeezenet1_1_cifar",
            {},
            "_cifar is for ResNets alone, .*; write torchvision.squeezenet1_1$",
        ),
        ("keras.resnet", {}, r"'keras.resnet' is unknown; choose one of resnet20, .*, timm.NAME$"),
        ("timm.vit_tiny", {}, r"'timm.vit_tiny' is unknown to timm; did you mean timm\."),
        (
            "timm.vit_tiny_patch16_224.augreg_in21k",
            {},
            "names trained weights.*write timm.vit_tiny_patch16_224$",
        ),
    ],
)
def test_what_cannot_be_built_is_one_line(name, kw, message):
    if name.startswith("timm"):
        pytest.importorskip("timm")
    with pytest.raises(UserError, match=message) as error:
        build(name, **kw)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["StdConv2d", "StdConv2dSame", "ScaledStdConv2d", "ScaledStdConv2dSame"])
def test_weights_that_are_standardised_cannot_be_sparse(kind):
    layers = pytest.importorskip("timm.layers")
    torch.manual_seed(0)
    model = nn.Sequential(getattr(layers, kind)(3, 4, 3), nn.Flatten(), nn.LazyLinear(5))
    model(torch.rand(2, 3, 8, 8))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    method = METHODS["static"](sf=0.5)
    with pytest.raises(UserError, match=rf"^0.weight is standardised .*\({kind}\).*; exclude such layers$"):
        Sparsifier(model, optimizer, method, seed=0, total_steps=4)
    assert Sparsifier(model, optimizer, method, seed=0, total_steps=4, exclude=kind).sparsity == 0.5


def test_a_library_that_is_not_installed_is_named(monkeypatch):
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(library, "import_module", missing)
    with pytest.raises(UserError, match=r"model='timm.vit' needs timm, which is not here; pip install timm$"):
        build("timm.vit")
    monkeypatch.setattr(library, "import_module", importlib.import_module)
