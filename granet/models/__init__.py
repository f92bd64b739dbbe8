"""Models by name: `build` looks a builder up in `MODELS`. A new model is a new row."""

from collections.abc import Callable

from torch import nn

from granet.models.initial import INITS, initialise
from granet.models.resnet_cifar import resnet20, resnet50_cifar
from granet.models.resnet_imagenet import resnet50
from granet.models.vgg import vgg19
from granet.types import UserError

__all__ = ["INITS", "MODELS", "build"]

MODELS: dict[str, Callable[..., nn.Module]] = {
    "resnet20": resnet20,
    "vgg19": vgg19,
    "resnet50_cifar": resnet50_cifar,
    "resnet50": resnet50,
}


def build(name: str, *, num_classes: int, init: str | None = None, **kw) -> nn.Module:
    """A new model with random weights, in train mode on the CPU.

    It maps images_NCHW (float, C = 3, H and W at least 32) to logits of shape (N, num_classes); its
    classifier is called ``fc``. Weights are drawn from torch's global generator: seed it first to get the
    same model again. ``init`` names one of `INITS` for its convolutions; None: the model's own. ``kw`` goes to the
    builder. Raises UserError for an unknown name.
    """
    if name not in MODELS:
        raise UserError(f"model={name!r} is unknown; choose one of {', '.join(MODELS)}")
    model = MODELS[name](num_classes=num_classes, **kw)
    return model if init is None else initialise(model, init)
