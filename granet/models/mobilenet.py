"""MobileNetV2 (Sandler et al. 2018) for small images."""

from torch import nn

SETTING = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Table 2 of the paper: expansion, channels, blocks, stride of the first; 24 channels have stride 1 here, not 2."""


def mobilenet_v2_cifar(num_classes: int, **kw: object) -> nn.Module:
    """torchvision's MobileNetV2 with stride 1 in its stem and in its second stage: 32x32 images end as 4x4.

    All weights start as torchvision draws them.
    """
    from torchvision.models import mobilenet_v2  # slow to import

    model = mobilenet_v2(
        num_classes=num_classes, inverted_residual_setting=[list(row) for row in SETTING], **kw
    )
    model.features[0][0].stride = (1, 1)  # pyright: ignore[reportIndexIssue, reportAttributeAccessIssue]
    return model
