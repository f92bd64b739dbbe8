"""Residual networks for small images (He et al. 2016)."""

from collections import OrderedDict

from torch import Tensor, nn

from granet.models.initial import initialise


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and the shortcut past them, (N, in, H, W) -> (N, out, H / stride, W / stride).

    Its parts have the names of torchvision's block of the same name. Where the shape changes, ``downsample`` is a
    projection (1x1 convolution + BN; option B of He et al. 2016).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = None
        if in_channels != out_channels:
            projection = nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """The block's output."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += shortcut
        return self.relu(out)


def resnet_thin(num_classes: int, num_blocks: int, width: int = 16) -> nn.Module:
    """The thin ResNets of He et al. 2016, Section 4.2: three stages of ``num_blocks`` basic blocks.

    The first stage has ``width`` channels and each later one twice as many at half the resolution.
    Convolutions and the classifier start kaiming-normal (fan-in), BN and biases as torch sets them.
    """

    def stage(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
        first = BasicBlock(in_channels, out_channels, stride)
        return nn.Sequential(first, *(BasicBlock(out_channels, out_channels) for _ in range(num_blocks - 1)))

    model = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, width, kernel_size=3, padding=1, bias=False),
            bn1=nn.BatchNorm2d(width),
            relu=nn.ReLU(inplace=True),
            layer1=stage(width, width, stride=1),
            layer2=stage(width, 2 * width, stride=2),
            layer3=stage(2 * width, 4 * width, stride=2),
            avgpool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(4 * width, num_classes),
        )
    )
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
    return model


def resnet20(num_classes: int, width: int = 16) -> nn.Module:
    """ResNet-20, 0.27M weights: `resnet_thin` with three blocks in each stage."""
    return resnet_thin(num_classes, 3, width)


def resnet32(num_classes: int, width: int = 16) -> nn.Module:
    """ResNet-32, 0.46M weights: `resnet_thin` with five blocks in each stage."""
    return resnet_thin(num_classes, 5, width)


def resnet56(num_classes: int, width: int = 16) -> nn.Module:
    """ResNet-56, 0.85M weights: `resnet_thin` with nine blocks in each stage."""
    return resnet_thin(num_classes, 9, width)


def resnet50_cifar(num_classes: int) -> nn.Module:
    """ResNet-50 at full width with a stem for 32x32 images: a 3x3 convolution of stride 1, and no max-pool.

    The stride is on the 3x3 convolution, as in torchvision's ResNet-50. The classifier has no bias, and all weights
    start as torch draws them by default: both as in the released code of GraNet.
    """
    from torchvision.models import resnet50  # slower to import than the rest of granet together

    model = resnet50(num_classes=num_classes)
    model.conv1 = nn.Conv2d(3, 64, kernel_size=3, padding=1, bias=False)
    model.maxpool = nn.Identity()  # type: ignore[assignment]
    model.fc = nn.Linear(model.fc.in_features, num_classes, bias=False)
    return initialise(model, "torch")
