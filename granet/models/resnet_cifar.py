"""Residual networks for small images (He et al. 2016), out of torchvision's blocks."""

from collections import OrderedDict

from torch import nn

from granet.models.initial import initialise

# torchvision is imported inside the builders: it takes longer to load than the rest of granet together.


def resnet20(num_classes: int, width: int = 16) -> nn.Module:
    """The thin ResNet of He et al. 2016, Section 4.2: three stages of three basic blocks, 0.27M weights.

    The first stage has ``width`` channels and each later one twice as many at half the resolution. Where
    the shape changes, the shortcut is a projection (1x1 convolution + BN; option B of that paper).
    Convolutions and the classifier start kaiming-normal (fan-in), BN and biases as torch sets them.
    """
    from torchvision.models.resnet import BasicBlock

    def stage(inplanes: int, planes: int, stride: int) -> nn.Sequential:
        projection = None
        if inplanes != planes:
            shortcut = nn.Conv2d(inplanes, planes, kernel_size=1, stride=stride, bias=False)
            projection = nn.Sequential(shortcut, nn.BatchNorm2d(planes))
        return nn.Sequential(
            BasicBlock(inplanes, planes, stride, projection),
            BasicBlock(planes, planes),
            BasicBlock(planes, planes),
        )

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


def resnet50_cifar(num_classes: int) -> nn.Module:
    """ResNet-50 at full width with a stem for 32x32 images: a 3x3 convolution of stride 1, and no max-pool.

    The stride is on the 3x3 convolution, as in torchvision's ResNet-50. The classifier has no bias, and all weights
    start as torch draws them by default: both as in the released code of GraNet.
    """
    from torchvision.models import resnet50

    model = resnet50(num_classes=num_classes)
    model.conv1 = nn.Conv2d(3, 64, kernel_size=3, padding=1, bias=False)
    model.maxpool = nn.Identity()  # type: ignore[assignment]
    model.fc = nn.Linear(model.fc.in_features, num_classes, bias=False)
    return initialise(model, "torch")
