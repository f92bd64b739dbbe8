"""Networks by their names in other libraries: ``torchvision.mobilenet_v2``, ``timm.vit_tiny_patch16_224``.

A point stands between library and name: names of models become parts of names of folders and stages, where a / cannot
be. `plain` puts it there. The libraries are imported when one of their networks is asked for, which takes seconds.
"""

import difflib
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import nn

from granet.types import UserError

LIBRARIES = ("torchvision", "timm")
SMALL = "_cifar"
"""The end of a ResNet's name that gives it the stem for small images."""
SIZES = {"vit_": "image_size", "maxvit_": "input_size"}
"""torchvision's networks whose shape depends on the image, by the start of their name, and what they call its size."""
ONE_OUTPUT = {"googlenet": {"aux_logits": False, "init_weights": True}}
ONE_OUTPUT["inception_v3"] = ONE_OUTPUT["googlenet"]
"""torchvision's networks that have outputs beside their logits in training, and what turns these off."""


def plain(name: str) -> str:
    """A model's name as it stands in names of runs: a point after its library.

    >>> plain("timm/vit_tiny_patch16_224"), plain("resnet20")
    ('timm.vit_tiny_patch16_224', 'resnet20')
    """
    library, slash, model = name.partition("/")
    return f"{library}.{model}" if slash and library in LIBRARIES else name


def is_library_name(name: str) -> bool:
    """Whether a name, as `plain` gives it, is one of a library; whether that has it, `check_library_name` knows."""
    return name.startswith(tuple(f"{library}." for library in LIBRARIES))


def check_library_name(name: str) -> None:
    """Raise UserError where the library is not installed, or has no such network for classification."""
    library, _, model = name.partition(".")
    model = model.removesuffix(SMALL)
    known = _import(library, name).list_models(**_only_classifiers(library))
    if model in known:
        return
    base = model.partition(".")[0]
    if base in known:
        raise UserError(
            f"model={name!r} names trained weights, and networks start anew; write {library}.{base}"
        )
    close = difflib.get_close_matches(model, known, n=1)
    fix = f"did you mean {library}.{close[0]}?" if close else f"{library}.list_models() has the names"
    raise UserError(f"model={name!r} is unknown to {library}; {fix}")


def from_library(name: str, num_classes: int, image_size: int | None = None, **kw: Any) -> nn.Module:
    """The network of a name as `plain` gives it, with the library's own random weights.

    ``image_size`` (pixels): of networks whose shape depends on it, such as ViTs; None: the one in their name. ``kw``
    goes to the library. A ResNet whose name ends in _cifar gets `small_stem`. Raises UserError as `check_library_name`
    does, and where the library cannot build it.
    """
    check_library_name(name)
    library, _, model = name.partition(".")
    base = model.removesuffix(SMALL)
    try:
        network = _made(partial(BUILDERS[library], base, num_classes, image_size, kw))
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        size = "" if image_size is None else f" for images of {image_size} pixels"
        raise UserError(f"model={name!r} cannot be built{size}: {' '.join(str(error).split())}") from error
    return small_stem(network, name) if model.endswith(SMALL) else network


def small_stem(model: Any, name: str) -> nn.Module:
    """A ResNet for small images: its stem becomes a 3x3 convolution of stride 1, and there is no max-pool.

    The convolution starts kaiming-normal over fan-out, as all of them do in both libraries. Raises UserError for a
    network that is no such ResNet.
    """
    if not all(hasattr(model, part) for part in ("conv1", "bn1", "maxpool", "layer1")):
        raise UserError(
            f"model={name!r}: {SMALL} is for ResNets alone, whose stem is known; write {name.removesuffix(SMALL)}"
        )
    model.conv1 = nn.Conv2d(3, model.bn1.num_features, kernel_size=3, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()
    return model


def _made(build: Callable[[], nn.Module]) -> nn.Module:
    """The network; where numbers decide its shape, one without values (device meta) is made on the CPU first."""
    try:
        return build()
    except RuntimeError:
        if torch.get_default_device().type != "meta":
            raise
        with torch.device("cpu"):
            return build().to("meta")


def _torchvision(name: str, num_classes: int, image_size: int | None, kw: dict[str, Any]) -> nn.Module:
    from torchvision.models import get_model

    for start, key in SIZES.items():
        if name.startswith(start) and image_size is not None:
            kw = {key: image_size if key == "image_size" else (image_size, image_size), **kw}
    return get_model(name, num_classes=num_classes, **ONE_OUTPUT.get(name, {}), **kw)


def _timm(name: str, num_classes: int, image_size: int | None, kw: dict[str, Any]) -> nn.Module:
    import timm

    about = timm.get_pretrained_cfg(name)
    if image_size is not None and about is not None and about.fixed_input_size:
        kw = {"img_size": image_size, **kw}
    return timm.create_model(name, num_classes=num_classes, **kw)


BUILDERS: dict[str, Callable[[str, int, int | None, dict[str, Any]], nn.Module]] = {
    "torchvision": _torchvision,
    "timm": _timm,
}


def _import(library: str, name: str) -> Any:
    module = {"torchvision": "torchvision.models"}.get(library, library)
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != library:
            raise
        raise UserError(f"model={name!r} needs {library}, which is not here; pip install {library}") from None


def _only_classifiers(library: str) -> dict[str, Any]:
    return {"module": import_module("torchvision.models")} if library == "torchvision" else {}
