"""FLOPs of inference and of training. A multiply-add is 2 FLOPs, and a masked weight costs nothing.

Layers with a matrix, products of activations (queries and keys, attention and values) and average pooling count;
softmax, max-pooling, norms, activation functions and biases do not.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from inspect import signature
from math import prod
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.hooks import RemovableHandle

from granet.common.names import plain_name
from granet.types import UserError

Count = Callable[[Any, list[Tensor], Tensor], int]
"""(module, its inputs in order, its output for one image) -> FLOPs."""


@dataclass(frozen=True)
class Flops:
    """FLOPs of one image's forward: in all, and by layer.

    ``layers`` is keyed by the weight ("layer1.0.conv1.weight"), or by the module that pools ("avgpool") or multiplies
    activations ("blocks.0.attn"), which no mask makes cheaper.
    """

    total: int
    layers: dict[str, int]

    def at(self, layer_sparsity: Mapping[str, float]) -> "Flops":
        """These dense FLOPs with weights masked; weights not named stay dense.

        ``layer_sparsity`` maps weight names to the fraction of weights that is zero, in [0, 1]. Raises
        UserError for a name that is no layer here, and for a fraction out of range.

        >>> Flops(30, {"conv.weight": 20, "fc.weight": 10}).at({"conv.weight": 0.75})
        Flops(total=15, layers={'conv.weight': 5, 'fc.weight': 10})
        """
        for name, sparsity in layer_sparsity.items():
            if name not in self.layers:
                example = next(iter(self.layers), "none")
                raise UserError(
                    f"layer_sparsity: {name!r} is no weight of this model; its names are like {example!r}"
                )
            if not 0 <= sparsity <= 1:
                raise UserError(f"layer_sparsity[{name!r}]={sparsity} must lie in [0, 1]: it is a fraction")
        layers = {
            name: round(dense * (1 - layer_sparsity.get(name, 0.0))) for name, dense in self.layers.items()
        }
        return Flops(sum(layers.values()), layers)


def inference_flops(
    model: nn.Module, input_shape: tuple[int, ...], layer_sparsity: Mapping[str, float] | None = None
) -> Flops:
    """FLOPs of the forward of one image of ``input_shape`` (C, H, W); weights not named are dense.

    Runs the model. For many sparsities of one model, keep the dense result and call `Flops.at`. Raises
    UserError as that does.
    """
    layers = layer_flops(model, input_shape)
    return Flops(sum(layers.values()), layers).at(layer_sparsity or {})


def layer_flops(model: nn.Module, input_shape: tuple[int, ...]) -> dict[str, int]:
    """Dense FLOPs of all that counts in the forward of one image, keyed as in `Flops`.

    Traced by one forward of a zero image, on the model's device, in eval mode and without gradients; modes
    are restored and nothing else of the model changes. Products and convolutions are seen wherever they are made, but a
    functional pooling such as ``F.avg_pool2d`` is not. A module called twice counts twice, one never called 0, and so
    does a parameter that multiplies nothing, as an embedding. Layers that share a weight are one entry, under the
    weight's first name: they are as sparse as it is.
    """
    layers: dict[str, int] = {}
    handles: list[RemovableHandle] = []
    first_names: dict[int, str] = {}
    weights: list[Tensor] = []  # kept, so that no two have one id
    modes = {module: module.training for module in model.modules()}
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # which calls no module
    like = next(model.parameters(), torch.empty(0))
    image_1CHW = torch.zeros(1, *input_shape, device=like.device, dtype=like.dtype)
    products = _Products(layers)
    try:
        for name, module in model.named_modules():
            # Set here and not by model.eval(), which models override (to keep BN frozen, for one).
            module.training = False
            handles += products.follow(name, module)
            for part, count in _counts(module):
                key = ".".join(filter(None, (name, part)))
                if part:  # a weight that layers share is one entry, under its first name
                    weights.append(_get(module, part))
                    key = first_names.setdefault(id(weights[-1]), key)
                    products.weights[_memory(weights[-1])] = key
                layers.setdefault(key, 0)
                handles.append(
                    module.register_forward_hook(partial(_add, layers, key, count), with_kwargs=True)
                )
        for name, parameter in model.named_parameters():  # a mask may be on any of them
            if parameter.dim() > 1:
                layers.setdefault(plain := plain_name(name), 0)
                products.weights.setdefault(_memory(parameter), plain)
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), products:
            model(image_1CHW)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode
    return layers


def _add(
    layers: dict[str, int], name: str, count: Count, module: nn.Module, args: tuple, kwargs: dict, output: Any
) -> None:
    inputs = signature(module.forward).bind(*args, **kwargs).args if kwargs else args
    layers[name] += count(module, [each for each in inputs if isinstance(each, Tensor)], output)


def _outputs(module: Any, output: Tensor) -> int:
    """Output positions: the whole weight is used once for each, whatever the groups."""
    return output.numel() // module.weight.shape[0]


def _windowed(module: Any, _: list[Tensor], output: Tensor) -> int:
    """2 FLOPs per element of each window."""
    kernel, num_axes = module.kernel_size, output.dim() - 2
    return 2 * output.numel() * (prod(kernel) if isinstance(kernel, tuple) else kernel**num_axes)


def _adaptive(_: nn.Module, inputs: list[Tensor], __: Tensor) -> int:
    """2 FLOPs per pooled input element."""
    return 2 * inputs[0].numel()


def _times(part: str, positions: Callable[[Any, Tensor], int]) -> Count:
    """A weight is used as a whole, once per position of the input (a token, a pixel)."""
    return lambda module, inputs, _: 2 * _get(module, part).numel() * positions(module, inputs[0])


def _projects(part: str) -> Count:
    """Of attention: each of its projections once per token of query, key or value, that of outputs per query."""

    def count(module: Any, inputs: list[Tensor], _: Tensor) -> int:
        query, key, value = (_tokens(module, each) for each in inputs[:3])
        weight = _get(module, part)
        if part == "in_proj_weight":  # three matrices
            return 2 * weight.numel() // 3 * (query + key + value)
        return 2 * weight.numel() * {"k_proj_weight": key, "v_proj_weight": value}.get(part, query)

    return count


def _get(module: nn.Module, part: str) -> Tensor:
    """A parameter by its dotted name; one that is computed, too."""
    return attrgetter(part)(module)


def _tokens(_: Any, inputs: Tensor) -> int:
    return inputs.numel() // inputs.shape[-1]


def _pixels(module: Any, inputs: Tensor) -> int:
    return inputs.numel() // module.in_channels


WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, nn.Bilinear)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
COUNTS: dict[type[nn.Module], Count] = {
    **dict.fromkeys(WEIGHTED, lambda module, _, output: 2 * module.weight.numel() * _outputs(module, output)),
    **dict.fromkeys(TRANSPOSED, _times("weight", _pixels)),
    **dict.fromkeys((nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d), _windowed),
    **dict.fromkeys((nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d), _adaptive),
}


def _counts(module: nn.Module) -> list[tuple[str, Count]]:
    """What to count of this module, by the name of its weight ("" for a pooling); subclasses included."""
    if isinstance(module, nn.MultiheadAttention | nn.RNNBase | nn.RNNCellBase):
        names = [
            plain_name(name) for name, p in module.named_parameters() if p.dim() > 1 and "bias" not in name
        ]
        if isinstance(module, nn.MultiheadAttention):
            return [(name, _projects(name)) for name in names]
        return [(name, _times(name, _tokens)) for name in names]
    weight = "weight" if isinstance(module, WEIGHTED + TRANSPOSED) else ""
    return [(weight, count) for kind, count in COUNTS.items() if isinstance(module, kind)][:1]


class _Products(TorchDispatchMode):
    """Adds the products and convolutions that are no call of a layer in `COUNTS`, as torch computes them.

    One with a known weight belongs to that, any other to the innermost module that is running.
    """

    def __init__(self, layers: dict[str, int]) -> None:
        super().__init__()
        self.layers = layers
        self.weights: dict[int, str] = {}
        self.running: list[tuple[str, nn.Module]] = []

    def follow(self, name: str, module: nn.Module) -> list[RemovableHandle]:
        """Have the module say when it runs."""
        return [
            module.register_forward_pre_hook(lambda module, _: self.running.append((name, module))),
            module.register_forward_hook(lambda *_: self.running.pop() and None),
        ]

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        """Count one operation of torch, and run it."""
        packet, kwargs = func.overloadpacket, kwargs or {}
        if packet not in PRODUCTS:
            with self:  # torch's inference mode hides the parts of an operation
                parts = func.decompose(*args, **kwargs)
            return func(*args, **kwargs) if parts is NotImplemented else parts
        output = func(*args, **kwargs)
        name, module = self.running[-1] if self.running else ("", None)
        projects = isinstance(module, nn.MultiheadAttention) and packet not in BATCHED
        if not (projects or isinstance(module, COUNTED)):
            own = [
                self.weights[m] for a in args if isinstance(a, Tensor) and (m := _memory(a)) in self.weights
            ]
            key = own[0] if own else name
            self.layers[key] = self.layers.get(key, 0) + PRODUCTS[packet](args, output)
        return output


def _memory(tensor: Tensor) -> int:
    """The same for all views of a tensor."""
    return tensor.untyped_storage()._cdata


def _product(place: int) -> Callable[[tuple, Tensor], int]:
    """A product whose left factor is that argument: 2 FLOPs for each element of the result and each summand."""
    return lambda args, output: 2 * output.numel() * args[place].shape[-1]


def _convolved(args: tuple, output: Tensor) -> int:
    inputs, weight, is_transposed = args[0], args[1], args[6]
    return 2 * weight.numel() * ((inputs if is_transposed else output).numel() // weight.shape[0])


ATEN = torch.ops.aten
BATCHED = (ATEN.bmm, ATEN.baddbmm)
PRODUCTS: dict[Any, Callable[[tuple, Tensor], int]] = {
    ATEN.mm: _product(0),
    ATEN.addmm: _product(1),
    ATEN.bmm: _product(0),
    ATEN.baddbmm: _product(1),
    ATEN.convolution: _convolved,
}
COUNTED = (*WEIGHTED, *TRANSPOSED, nn.RNNBase, nn.RNNCellBase)
"""Layers whose calls are counted as a whole."""


def step_flops(sparse: int, dense: int, *, dense_gradient: bool = False, inactive: float = 0.0) -> int:
    """Training FLOPs of one image at one step (RigL, Evci et al. 2020, appendix).

    Forward f_S, backward 2 f_S: once for the gradient of the activations and once for that of the weights.
    Where a mask update reads the dense gradient, the latter costs f_D, which makes 2 f_S + f_D in all; where it reads
    that of ``inactive`` weights for each active one, (1 + ``inactive``) f_S, f_D at most. ``sparse`` and ``dense`` are
    the forward's FLOPs f_S and f_D.

    >>> step_flops(10, 100, dense_gradient=False), step_flops(10, 100, dense_gradient=True)
    (30, 120)
    >>> step_flops(10, 100, inactive=0.5), step_flops(10, 100, inactive=math.inf)
    (35, 120)
    """
    of_weights = (
        dense if dense_gradient or math.isinf(inactive) else min(dense, round((1 + inactive) * sparse))
    )
    return 2 * sparse + of_weights


def training_flops(segments: Iterable[tuple[int, int, bool]], dense: int) -> int:
    """Training FLOPs of a run: the sum of `step_flops` over its images.

    A segment is (num_images, forward FLOPs at its sparsity, whether its steps read the dense gradient);
    ``dense`` is the dense forward's FLOPs.

    >>> training_flops([(128, 10, False), (128, 10, True)], dense=100)
    19200
    """
    return sum(
        num_images * step_flops(sparse, dense, dense_gradient=dense_gradient)
        for num_images, sparse, dense_gradient in segments
    )
