"""FLOPs against hand counts, published numbers and the properties of masking."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from granet.distributions import erk
from granet.flops import Flops, inference_flops, layer_flops, step_flops, training_flops
from granet.models import MODELS, build
from granet.types import UserError


@pytest.fixture(scope="module")
def imagenet_resnet50() -> nn.Module:
    return build("resnet50", num_classes=1000)


def small_net() -> nn.Sequential:
    """3x8x8 -> conv 3x3 -> 4x8x8 -> max-pool -> 4x4x4 -> grouped conv 3x3 -> 6x4x4 -> 6 -> 10."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, padding=1, groups=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 10),
    )


SMALL = {
    "0.weight": 2 * (8 * 8) * 4 * (3 * 9),  # 2 x positions x output channels x (inputs per group x kernel)
    "4.weight": 2 * (4 * 4) * 6 * (2 * 9),
    "5": 2 * 6 * (4 * 4),  # 2 x pooled elements
    "7.weight": 2 * 6 * 10,
}


def test_small_net_by_hand():
    assert inference_flops(small_net(), (3, 8, 8)) == Flops(13_824 + 3_456 + 192 + 120, SMALL)


@pytest.mark.parametrize(
    "layer, input_shape, expected",
    [
        (nn.Conv2d(2, 2, 3, stride=2), (2, 9, 9), 2 * (4 * 4) * 2 * (2 * 9)),
        (nn.Conv2d(2, 2, 3, dilation=2), (2, 9, 9), 2 * (5 * 5) * 2 * (2 * 9)),
        (nn.Conv2d(8, 8, 3, padding=1, groups=8), (8, 5, 5), 2 * (5 * 5) * 8 * 9),  # depth-wise
        (nn.Conv2d(3, 5, (1, 3)), (3, 4, 4), 2 * (4 * 2) * 5 * (3 * 3)),
        (nn.Conv1d(3, 5, 2), (3, 4), 2 * 3 * 5 * (3 * 2)),
        (nn.Linear(6, 10), (7, 6), 7 * 2 * 6 * 10),  # 7 tokens
        (nn.AvgPool2d(2), (3, 8, 8), 2 * 3 * 8 * 8),
        (nn.AvgPool2d((3, 1), stride=1), (3, 8, 8), 2 * 3 * (6 * 8) * 3),  # windows overlap
        (nn.AdaptiveAvgPool2d(2), (3, 8, 8), 2 * 3 * 8 * 8),
        (nn.MaxPool2d(2), (3, 8, 8), 0),
        (nn.BatchNorm2d(3), (3, 8, 8), 0),
        (nn.Sequential(), (3, 8, 8), 0),
    ],
    ids=str,
)
def test_one_layer_by_hand(layer, input_shape, expected):
    assert inference_flops(layer, input_shape).total == expected


def test_a_layer_called_twice_counts_twice_and_one_never_called_not_at_all():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, inputs):
            return self.used(self.used(inputs))

    assert layer_flops(Net(), (4,)) == {"used.weight": 2 * 2 * 16, "unused.weight": 0}


def test_imagenet_resnet50(imagenet_resnet50):
    dense = inference_flops(imagenet_resnet50, (3, 224, 224))
    assert dense.total == 8_178_569_216  # 2 x 4,089,184,256 multiply-adds + the final pooling
    assert dense.layers["avgpool"] == 2 * 2048 * 7 * 7
    assert dense.layers["conv1.weight"] == 2 * 112 * 112 * 64 * 3 * 49
    assert dense.total == pytest.approx(8.2e9, rel=0.02)  # RigL and GraNet, Table 3
    one_epoch = [(1_280_000, dense.total, False)]
    assert training_flops(one_epoch * 100, dense.total) == pytest.approx(3.2e18, rel=0.02)  # same table


def test_erk_on_imagenet_resnet50(imagenet_resnet50):
    """GraNet's Tables 3 and 5 print 0.42, 0.24 and 0.12 for ERK; counting gives 0.414, 0.242 and 0.122."""
    dense = inference_flops(imagenet_resnet50, (3, 224, 224))
    shapes = {n: tuple(p.shape) for n, p in imagenet_resnet50.named_parameters() if n in dense.layers}
    ratios = [dense.at(erk(shapes, s)).total / dense.total for s in (0.8, 0.9, 0.95)]
    assert [round(ratio, 2) for ratio in ratios] == [0.41, 0.24, 0.12]


@pytest.mark.parametrize("name", MODELS)
def test_every_weight_has_an_entry(name):
    with torch.device("meta"):
        model = build(name, num_classes=10)
    weights = {f"{n}.weight" for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    layers = layer_flops(model, (3, 32, 32))
    assert set(layers) - {"avgpool"} == weights  # MobileNetV2 pools by a functional, which is not seen
    assert all(flops > 0 for flops in layers.values())
    assert weights <= {n for n, _ in model.named_parameters()}


def test_masked_weights_cost_nothing():
    dense = inference_flops(small_net(), (3, 8, 8))
    sparse = inference_flops(small_net(), (3, 8, 8), {"0.weight": 0.75, "7.weight": 1.0})
    assert sparse == dense.at({"0.weight": 0.75, "7.weight": 1.0})
    assert sparse.layers == {**SMALL, "0.weight": 13_824 // 4, "7.weight": 0}
    assert sparse.total == 13_824 // 4 + 3_456 + 192
    assert dense.at({}) == dense


@given(st.data())
def test_flops_are_exact_for_whole_numbers_of_weights(data):
    """A layer of 2^21 weights used at 49 positions: the FLOPs are 98 per active weight, to the last one."""
    size = 2**21 + 1
    active = data.draw(st.integers(0, size))
    dense = Flops(98 * size, {"conv.weight": 98 * size})
    assert dense.at({"conv.weight": 1 - active / size}).total == 98 * active


def test_bad_layer_sparsity():
    with pytest.raises(UserError, match=r"'1.weight'.*'0.weight'"):
        inference_flops(small_net(), (3, 8, 8), {"1.weight": 0.5})
    with pytest.raises(UserError, match=r"'0.weight'\]=80 must lie in \[0, 1\]"):
        inference_flops(small_net(), (3, 8, 8), {"0.weight": 80})


def snapshot(model: nn.Module) -> tuple:
    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    modes = [m.training for m in model.modules()]
    hooks = [list(m._forward_hooks) for m in model.modules()]
    return copy.deepcopy(model.state_dict()), grads, modes, hooks


def assert_unchanged(model: nn.Module, before: tuple) -> None:
    after = snapshot(model)
    torch.testing.assert_close(after[:2], before[:2], rtol=0, atol=0)
    assert after[2:] == before[2:]


def partly_frozen_net() -> nn.Sequential:
    model = small_net()
    model(torch.rand(2, 3, 8, 8)).sum().backward()  # gives it gradients and running statistics
    model[1].eval()
    return model


def test_the_model_is_left_as_it_was():
    model = partly_frozen_net()
    calls = []
    model[0].register_forward_hook(lambda *_: calls.append(1))
    before, rng = snapshot(model), torch.get_rng_state()
    layer_flops(model, (3, 8, 8))
    assert_unchanged(model, before)
    assert torch.equal(rng, torch.get_rng_state())


def test_the_model_is_left_as_it_was_when_its_forward_fails():
    model = partly_frozen_net()
    before = snapshot(model)
    with pytest.raises(RuntimeError):
        layer_flops(model, (5, 8, 8))
    assert_unchanged(model, before)


@pytest.mark.parametrize("dtype, device", [(torch.float64, "cpu"), (torch.float32, "meta")])
def test_runs_where_the_model_is(dtype, device):
    assert layer_flops(small_net().to(device, dtype), (3, 8, 8)) == SMALL


def test_step_flops():
    assert step_flops(20, 100, dense_gradient=False) == 3 * 20
    assert step_flops(20, 100, dense_gradient=True) == 2 * 20 + 100
    assert step_flops(100, 100, dense_gradient=True) == 3 * 100  # dense: the gradient costs nothing extra


def test_training_flops_follow_rigls_average():
    """RigL's appendix: (3 f_S dT + 2 f_S + f_D) / (dT + 1) per image, with dT steps between two updates."""
    interval, sparse, dense = 99, 20, 100
    cycle = [(interval, sparse, False), (1, sparse, True)]
    total = training_flops(cycle * 7, dense)
    assert total == 7 * (3 * sparse * interval + 2 * sparse + dense)
    assert training_flops([], dense) == 0


def test_layers_that_share_a_weight_are_one_entry_at_its_sparsity():
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    dense = inference_flops(model, (8,)).total
    model[1].weight = model[0].weight
    assert inference_flops(model, (8,)).layers == {"0.weight": dense}
    assert inference_flops(model, (8,), {"0.weight": 0.75}).total == dense / 4


class Cross(nn.Module):
    """Two queries look at the tokens."""

    def __init__(self, by_keyword=False, **sizes):
        super().__init__()
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True, **sizes)
        self.head = nn.Linear(32, 3)
        self.queries = nn.Parameter(torch.zeros(1, 2, 32))
        self.by_keyword = by_keyword

    def forward(self, x):
        if self.by_keyword:
            attended, _ = self.attention(value=x, key=x, query=self.queries)
            return self.head(input=attended)
        return self.head(self.attention(self.queries, x, x)[0])


@pytest.mark.parametrize("by_keyword", [False, True])
@pytest.mark.parametrize(("width", "sizes"), [(32, {}), (16, {"kdim": 16, "vdim": 16})])
def test_attention_projects_queries_keys_and_values_each_as_often_as_there_are(by_keyword, width, sizes):
    model = Cross(by_keyword, **sizes).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        model(torch.zeros(1, 50, width))
    assert inference_flops(model, (50, width)).total == counter.get_total_flops()


def test_a_parameter_of_the_models_own_has_the_products_that_it_is_in():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.matrix, self.added = nn.Parameter(torch.ones(6, 4)), nn.Parameter(torch.ones(1, 4))

        def forward(self, inputs):
            return nn.functional.linear(inputs + self.added, self.matrix)

    assert layer_flops(Net(), (4,)) == {"matrix": 2 * 24, "added": 0}
    assert inference_flops(Net(), (4,), {"matrix": 0.5, "added": 0.9}).total == 24
