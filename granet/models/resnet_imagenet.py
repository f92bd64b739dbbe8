"""The ResNet-50 of ImageNet."""

from torch import nn

from granet.models.initial import initialise


def resnet50(num_classes: int) -> nn.Module:
    """torchvision's ResNet-50 (v1.5: the stride is on the 3x3 convolution), without pretrained weights.

    Convolutions start kaiming-normal over fan-in, as in the released runs of GraNet; torchvision's start over fan-out.
    """
    from torchvision.models import resnet50 as torchvision_resnet50  # slow to import

    return initialise(torchvision_resnet50(num_classes=num_classes), "fan_in")
