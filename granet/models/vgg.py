"""VGG (Simonyan & Zisserman 2015) with batch normalisation and one linear layer, as used on CIFAR."""

from collections import OrderedDict

from torch import nn

# Channels of the 3x3 convolutions, configurations A, D and E; the resolution halves between two groups.
VGG11 = ((64,), (128,), (256,) * 2, (512,) * 2, (512,) * 2)
VGG16 = ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3)
VGG19 = ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4)


def vgg(num_classes: int, groups: tuple[tuple[int, ...], ...]) -> nn.Module:
    """Convolutions of ``groups``, each with BN and ReLU, 4 max-pools, global average pooling, one classifier.

    Convolutions have no bias and start kaiming-normal over fan-out; the classifier starts at N(0, 0.01),
    its bias at 0.
    """
    layers: list[nn.Module] = []
    inplanes = 3
    for group in groups:
        if layers:
            layers.append(nn.MaxPool2d(kernel_size=2))
        for planes in group:
            conv = nn.Conv2d(inplanes, planes, kernel_size=3, padding=1, bias=False)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            layers += [conv, nn.BatchNorm2d(planes), nn.ReLU(inplace=True)]
            inplanes = planes
    fc = nn.Linear(inplanes, num_classes)
    nn.init.normal_(fc.weight, std=0.01)
    nn.init.zeros_(fc.bias)
    return nn.Sequential(
        OrderedDict(
            features=nn.Sequential(*layers), avgpool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), fc=fc
        )
    )


def vgg11(num_classes: int) -> nn.Module:
    """VGG-11: 8 convolutions."""
    return vgg(num_classes, VGG11)


def vgg16(num_classes: int) -> nn.Module:
    """VGG-16: 13 convolutions."""
    return vgg(num_classes, VGG16)


def vgg19(num_classes: int) -> nn.Module:
    """VGG-19: 16 convolutions."""
    return vgg(num_classes, VGG19)
