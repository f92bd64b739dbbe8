"""mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019), by torchvision: one draw per batch."""

import torch
from torch import Tensor
from torchvision.transforms.v2 import CutMix, MixUp

from granet.common.seeds import stable_seed

LEAST_ALPHA = 1e-3
"""Below it a draw is 0 or 1 as it is there, and torch's own draw fails."""


def mixed(
    images_BCHW: Tensor,
    labels_B: Tensor,
    mixup: float,
    cutmix: float,
    num_classes: int,
    seed: int,
    step: int,
    part: int | None,
) -> tuple[Tensor, Tensor]:
    """Images mixed with their neighbours, and the classes' shares (B, classes) in each.

    ``mixup`` and ``cutmix`` are alphas, 0: not used; of two each batch draws one. Neighbours are those within the
    ``part`` images of one forward, and all parts are mixed alike: so several processes compute what one does that
    takes its batch in as many parts.
    """
    makers = [(MixUp, mixup)] * (mixup > 0) + [(CutMix, cutmix)] * (cutmix > 0)
    kind, alpha = makers[stable_seed("mixup or cutmix", seed, step) % len(makers)]
    mix = kind(alpha=max(alpha, LEAST_ALPHA), num_classes=num_classes)
    size, parts = part or len(labels_B), []
    shares_BK = torch.zeros(len(labels_B), num_classes, device=labels_B.device)
    shares_BK.scatter_(1, labels_B[:, None], 1.0)
    for images, labels in zip(images_BCHW.split(size), shares_BK.split(size), strict=True):
        with torch.random.fork_rng(devices=[]):  # torchvision draws from the host's own generator
            torch.default_generator.manual_seed(stable_seed("mixing", seed, step))
            parts.append(mix(images, labels))
    images, shares = zip(*parts, strict=True)
    return torch.cat(images), torch.cat(shares)
