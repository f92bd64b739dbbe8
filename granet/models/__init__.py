"""Models by name: `build` looks a builder up in `MODELS`, or in torchvision or timm. A new model is a new row."""

from collections.abc import Callable
from functools import partial

from torch import nn

from granet.models.initial import INITS, initialise
from granet.models.library import LIBRARIES, check_library_name, from_library, is_library_name, plain
from granet.models.mobilenet import mobilenet_v2_cifar
from granet.models.resnet_cifar import resnet20, resnet32, resnet50_cifar, resnet56
from granet.models.resnet_imagenet import resnet50
from granet.models.vgg import vgg11, vgg16, vgg19
from granet.models.wide_resnet import wrn22_2
from granet.types import UserError

__all__ = ["INITS", "LIBRARIES", "MODELS", "build", "check_name", "plain"]

MODELS: dict[str, Callable[..., nn.Module]] = {
    "resnet20": resnet20,
    "vgg19": vgg19,
    "resnet50_cifar": resnet50_cifar,
    "resnet50": resnet50,
    "resnet32": resnet32,
    "resnet56": resnet56,
    "wrn22_2": wrn22_2,
    "vgg11": vgg11,
    "vgg16": vgg16,
    "mobilenet_v2_cifar": mobilenet_v2_cifar,
    # torchvision's own, with its start
    "resnet18": partial(from_library, "torchvision.resnet18"),
    "resnet34": partial(from_library, "torchvision.resnet34"),
    "resnet18_cifar": partial(from_library, "torchvision.resnet18_cifar"),
    "resnet34_cifar": partial(from_library, "torchvision.resnet34_cifar"),
    "mobilenet_v2": partial(from_library, "torchvision.mobilenet_v2"),
}


def build(
    name: str, *, num_classes: int, init: str | None = None, image_size: int | None = None, **kw
) -> nn.Module:
    """A new model with random weights, in train mode on the CPU.

    ``name`` is a row of `MODELS`, or torchvision.NAME or timm.NAME (a / will do for the point). It maps images_NCHW
    (float, C = 3, H and W at least 16 for the rows) to logits of shape (N, num_classes). Weights are drawn from torch's
    global generator: seed it first to get the same model again. ``init`` names one of `INITS` for its convolutions;
    None: the model's own. ``image_size`` (pixels) counts for a library's networks whose shape depends on it, such as
    ViTs; None: the size in their name. ``kw`` goes to the builder. Raises UserError for an unknown name.
    """
    name = plain(name)
    check_name(name)
    if name in MODELS:
        model = MODELS[name](num_classes=num_classes, **kw)
    else:
        model = from_library(name, num_classes, image_size, **kw)
    return model if init is None else initialise(model, init)


def check_name(name: str) -> None:
    """Raise UserError for a name that `build` does not know; asks the library for one of its own."""
    if name in MODELS:
        return
    if not is_library_name(name):
        libraries = ", ".join(f"{library}.NAME" for library in LIBRARIES)
        raise UserError(f"model={name!r} is unknown; choose one of {', '.join(MODELS)}, {libraries}")
    check_library_name(name)
