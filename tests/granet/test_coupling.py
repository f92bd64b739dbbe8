"""Groups of channels, by eye, and by what they must be: zero them, and nothing is left to see of them."""

import operator

import pytest
import torch
from torch import Tensor, nn

from granet.maskable import maskable_weights
from granet.models import build
from granet.sparsifier.coupling import channel_groups
from granet.types import UserError

RESNET20 = """
conv1 layer1.0.conv2 layer1.1.conv2 layer1.2.conv2 -> layer1.0.conv1 layer1.1.conv1 layer1.2.conv1 layer2.0.conv1 layer2.0.downsample.0
layer1.0.conv1 -> layer1.0.conv2
layer1.1.conv1 -> layer1.1.conv2
layer1.2.conv1 -> layer1.2.conv2
layer2.0.conv1 -> layer2.0.conv2
layer2.0.conv2 layer2.0.downsample.0 layer2.1.conv2 layer2.2.conv2 -> layer2.1.conv1 layer2.2.conv1 layer3.0.conv1 layer3.0.downsample.0
layer2.1.conv1 -> layer2.1.conv2
layer2.2.conv1 -> layer2.2.conv2
layer3.0.conv1 -> layer3.0.conv2
layer3.0.conv2 layer3.0.downsample.0 layer3.1.conv2 layer3.2.conv2 -> layer3.1.conv1 layer3.2.conv1 fc
layer3.1.conv1 -> layer3.1.conv2
layer3.2.conv1 -> layer3.2.conv2
"""  # noqa: E501  (a table, one group a line)


def layers(names: tuple[str, ...]) -> str:
    return " ".join(name.removesuffix(".weight") for name in names)


def test_resnet20_by_eye():
    groups = channel_groups(build("resnet20", num_classes=10))
    lines = [f"{layers(group.outputs)} -> {layers(group.inputs)}" for group in groups]
    assert lines == RESNET20.strip().splitlines()
    assert [group.size for group in groups] == [16] * 4 + [32] * 4 + [64] * 4
    assert groups[5].norms == ("layer2.0.bn2", "layer2.0.downsample.1", "layer2.1.bn2", "layer2.2.bn2")
    assert groups[1].vectors == ("layer1.0.bn1.weight", "layer1.0.bn1.bias")


@pytest.mark.parametrize(
    "name, num_groups",
    [
        ("resnet20", 3 + 9),  # a trunk per stage, and the inside of each block
        ("vgg19", 16),
        ("resnet50", 1 + 4 + 2 * 16),  # the stem, a trunk per stage, and two insides of each block
        ("resnet50_cifar", 1 + 4 + 2 * 16),
    ],
)
def test_every_filter_is_in_one_group_and_every_column_is_fed_by_one(name, num_groups):
    model = build(name, num_classes=10)
    groups, weights = channel_groups(model), maskable_weights(model)
    assert len(groups) == num_groups
    outputs = [name for group in groups for name in group.outputs]
    inputs = [name for group in groups for name in group.inputs]
    assert sorted(outputs) == sorted(set(weights) - {"fc.weight"})  # not the logits
    assert len(inputs) == len(set(inputs)) and len(set(weights) - set(inputs)) == 1  # not the image
    for group in groups:
        assert {weights[name].shape[0] for name in group.outputs} == {group.size}
        assert {weights[name].shape[1] for name in group.inputs} == {group.size}
        assert {len(model.get_parameter(name)) for name in group.vectors} == {group.size}
        assert group.name == group.outputs[0]
    norms = {name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert {name for group in groups for name in group.norms} == norms


@pytest.mark.parametrize("name", ["resnet20", "resnet50_cifar"])
def test_nothing_of_a_zeroed_channel_reaches_its_readers(name):
    """In train mode too: the columns that read it get no gradient."""
    torch.manual_seed(0)
    model = build(name, num_classes=10)
    groups = channel_groups(model)
    with torch.no_grad():
        for group in groups:
            for tensor in (*group.outputs, *group.vectors):
                model.get_parameter(tensor)[1] = 0
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    for group in groups:
        for tensor in group.inputs:
            grad = model.get_parameter(tensor).grad
            assert not grad[:, 1].any()
            assert grad.any()


def test_biases_are_vectors_and_the_image_is_never_among_the_channels():
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 3, 1), nn.Conv2d(3, 5, 1)
            self.fc = nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.add(self.b(torch.relu(self.a(x))), x)
            return self.fc(torch.flatten(nn.functional.relu(self.c(x)), 1))

    first, last = channel_groups(Residual())
    assert (first.outputs, first.inputs, first.vectors) == (("a.weight",), ("b.weight",), ("a.bias",))
    assert (last.outputs, last.inputs, last.vectors) == (("c.weight",), ("fc.weight",), ("c.bias",))


def test_a_layer_that_is_called_twice_couples_what_it_makes():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.again, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.again(self.again(self.stem(x))))

    [group] = channel_groups(Twice())
    assert group.outputs == ("stem.weight", "again.weight")
    assert group.inputs == ("again.weight", "head.weight")


class Calls(nn.Module):
    """A network around one call."""

    def __init__(self, call) -> None:
        super().__init__()
        self.stem, self.call, self.head = nn.Conv2d(3, 4, 1), call, nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.call(self.stem(x)))


class Function(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Attends(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x)[0]


@pytest.mark.parametrize(
    "call, words",
    [
        (nn.Conv2d(4, 4, 3, padding=1, groups=2), "call is a convolution with groups=2"),
        (nn.Conv2d(4, 4, 3, groups=4), "call is a convolution with groups=4"),
        (nn.GroupNorm(2, 4), "call is a GroupNorm"),
        (nn.LayerNorm(4), "call is a LayerNorm"),
        (Attends(), "call.attention is a MultiheadAttention"),
        (nn.Sigmoid(), "call is a Sigmoid"),  # of zero it makes a half
        (nn.Linear(7, 7), "call meets 4 channels where it is made for 7"),
        (Function(lambda x: torch.cat([x, x], 1)), "call calls cat"),
        (Function(lambda x: operator.add(x, 1)), "call calls add"),  # of zero it makes one
        (Function(lambda x: x.view(-1)), "call calls view"),
        (Function(lambda x: x.mean((1, 2))), "call calls mean"),  # over the channels
        (Function(lambda x: x.mean()), "call calls mean"),
        (nn.Flatten(2), "call flattens from axis 2"),
        (Function(lambda x: torch.flatten(x, start_dim=2)), "call flattens from axis 2"),
        (Function(torch.flatten), "call flattens from axis 0"),
        (Function(lambda x: x if x.sum() > 0 else -x), "call cannot be traced by torch.fx"),
    ],
)
def test_what_is_not_known_is_refused_by_name_in_one_line(call, words):
    with pytest.raises(UserError) as error:
        channel_groups(Calls(call))
    assert str(error.value).startswith(words)
    assert "\n" not in str(error.value)
