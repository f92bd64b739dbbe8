"""Wide residual networks for small images (Zagoruyko & Komodakis 2016)."""

from collections import OrderedDict

from torch import Tensor, nn


class PreActivationBlock(nn.Module):
    """BN, ReLU, 3x3 convolution, twice, and the shortcut past them: (N, in, H, W) -> (N, out, H / stride, W / stride).

    Where the number of channels changes, ``shortcut`` is a 1x1 convolution of what the first ReLU gives.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.shortcut = None
        if in_channels != out_channels:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The block's output."""
        active = self.relu(self.bn1(x))
        shortcut = x if self.shortcut is None else self.shortcut(active)
        return self.conv2(self.relu(self.bn2(self.conv1(active)))) + shortcut


def wrn22_2(num_classes: int, depth: int = 22, width: int = 2) -> nn.Module:
    """WRN-22-2, as RigL trains on CIFAR-10 (Evci et al. 2020, Section 4.2): three stages of three blocks, 1.1M weights.

    A stage has ``width`` times 16, 32, 64 channels and (``depth`` - 4) / 6 blocks. Convolutions and the classifier
    start kaiming-normal (fan-in), BN and biases as torch sets them. No dropout.
    """
    num_blocks = (depth - 4) // 6

    def stage(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
        first = PreActivationBlock(in_channels, out_channels, stride)
        others = [PreActivationBlock(out_channels, out_channels) for _ in range(num_blocks - 1)]
        return nn.Sequential(first, *others)

    model = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 16, kernel_size=3, padding=1, bias=False),
            layer1=stage(16, 16 * width, stride=1),
            layer2=stage(16 * width, 32 * width, stride=2),
            layer3=stage(32 * width, 64 * width, stride=2),
            bn=nn.BatchNorm2d(64 * width),
            relu=nn.ReLU(inplace=True),
            avgpool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(64 * width, num_classes),
        )
    )
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
    return model
