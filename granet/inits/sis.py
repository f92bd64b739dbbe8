"""SIS: which weights a trained network's activations need (Verma & Pesquet, ICML 2021).

A layer gives z = W x, and a ReLU after it sees p = a z + rest, with BatchNorm's scale a. Other weights V do the same
work where p + a (V - W) x lies in the ReLU's subdifferential inclusion: equal to p where p > 0, at most 0 where p <= 0.
A layer without a ReLU behind it has to keep its output. SIS looks for the V of smallest l1 norm near that set.

Here the penalised form min d^2(V) / 2 + lambda |V|_1 is solved, by FISTA instead of Douglas-Rachford splitting, with x
and p sampled, along a path of falling lambda, the same for all layers. Weights are measured by what they add to p (in
units of a and of the input's root mean square), so that layers compare. The larger the lambda at which a weight enters,
the more it is needed: that gives any sparsity exactly. The trained values themselves are kept.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from granet.common.seeds import stable_seed
from granet.inits.saliency import first_images, undisturbed
from granet.maskable import check_plain
from granet.types import InitContext, Tensors, UserError

PATH = tuple(10 ** (-4 * step / 24) for step in range(25))
"""Penalties as fractions of the smallest one that leaves no weight in any layer: 1 down to 0.0001."""
ITERATIONS = 10
"""FISTA steps per penalty, each from the solution before."""


@dataclass(frozen=True)
class Layer:
    """One layer's problem, at sampled positions: rows are samples (S), columns inputs (I) or outputs (O)."""

    weight_OI: Tensor  # the trained weights, from inputs to what the ReLU sees
    inputs_SI: Tensor
    before_SO: Tensor  # what the ReLU sees; the layer's own output where no ReLU follows
    relu: bool

    def standard(self, scale_O: Tensor) -> "Layer":
        """The same problem with inputs of unit root mean square, and BatchNorm's scale in the weights."""
        rms_I = self.inputs_SI.square().mean(0).sqrt()
        return replace(
            self,
            weight_OI=self.weight_OI * scale_O[:, None] * rms_I,
            inputs_SI=self.inputs_SI / rms_I.clamp(min=1e-12),
        )

    def residual(self, weight_OI: Tensor) -> Tensor:
        """How far the new pre-activations lie from the inclusion, (S, O)."""
        delta = self.inputs_SI @ (weight_OI - self.weight_OI).T
        if not self.relu:
            return delta
        return torch.where(self.before_SO > 0, delta, (self.before_SO + delta).clamp(min=0))

    def gradient(self, weight_OI: Tensor) -> Tensor:
        """Of half the mean squared distance, (O, I)."""
        return self.residual(weight_OI).T @ self.inputs_SI / len(self.inputs_SI)

    def largest_penalty(self) -> float:
        """The smallest penalty at which no weight is needed."""
        return float(self.gradient(torch.zeros_like(self.weight_OI)).abs().max())

    def lipschitz(self) -> float:
        """Bound on how fast the gradient changes: the largest eigenvalue of x'x / S, by power iteration.

        It starts from ones. Where every input sums to zero it finds nothing, and the sum of all eigenvalues is taken.
        """
        vector = torch.ones(self.inputs_SI.shape[1], dtype=self.inputs_SI.dtype, device=self.inputs_SI.device)
        value = 0.0
        for _ in range(20):
            image = self.inputs_SI.T @ (self.inputs_SI @ vector) / len(self.inputs_SI)
            value = float(image.norm() / vector.norm().clamp(min=1e-30))
            vector = image / image.norm().clamp(min=1e-30)
        return 1.05 * value or float(self.inputs_SI.square().sum()) / len(self.inputs_SI)


def entry(layer: Layer, largest: float) -> Tensor:
    """Scores (O, I): the sooner a weight enters along the path of penalties, from ``largest`` down, the higher.

    The integer part counts path points from the end, the fraction is |V| there over the layer's largest. Weights that
    never enter score in (-1, 0], by their trained magnitude.
    """
    trained = layer.weight_OI.abs()
    scores = trained / trained.max().clamp(min=1e-30) - 1
    lipschitz = layer.lipschitz()
    if layer.largest_penalty() == 0 or lipschitz == 0:  # the inclusion holds without any weight
        return scores
    solution = torch.zeros_like(layer.weight_OI)
    for point, share in enumerate(PATH):
        solution = fista(layer, solution, share * largest, 1 / lipschitz)
        size = solution.abs()
        new = (size > 0) & (scores <= 0)
        scores = torch.where(new, len(PATH) - point + size / (size.max() * 1.001).clamp(min=1e-30), scores)
    return scores


def fista(layer: Layer, start_OI: Tensor, penalty: float, step: float) -> Tensor:
    """Accelerated proximal gradient (Beck & Teboulle 2009) on d^2(V) / 2 + penalty |V|_1."""
    solution, ahead, momentum = start_OI, start_OI, 1.0
    for _ in range(ITERATIONS):
        moved = ahead - step * layer.gradient(ahead)
        new = moved.sign() * (moved.abs() - step * penalty).clamp(min=0)
        grown = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = new + (momentum - 1) / grown * (new - solution)
        solution, momentum = new, grown
    return solution


@torch.no_grad()
def sis(context: InitContext, num_images: int = 256, num_samples: int = 1024) -> Tensors:
    """Scores of all maskable weights of a trained model; higher = needed more.

    ``num_images`` training images decide, and of their positions in every layer ``num_samples``, drawn from the seed
    and the layer's name. Raises UserError for a grouped or transposed convolution, for a linear layer over more than
    (N, C), and for a layer that the forward does not call.
    """
    check_plain(context.model, context.weights, "SIS")
    images, _ = first_images(context, num_images)
    with undisturbed(context.model, training=False):
        layers = _observe(context, images, num_samples)
    if missing := context.weights.keys() - layers.keys():
        raise UserError(
            f"sis: the forward does not call the layer of {min(missing)}, so nothing says what it needs; exclude it"
        )
    largest = max(layer.largest_penalty() for layer in layers.values())
    return {name: entry(layers[name], largest).view_as(weight) for name, weight in context.weights.items()}


def _observe(context: InitContext, images: Tensor, num_samples: int) -> dict[str, Layer]:
    """Every layer's problem, from one forward. Tensors carry the name of the layer they come from on their way."""
    layers: dict[str, Layer] = {}
    rows: dict[str, Tensor] = {}
    scales: dict[str, Tensor] = {}
    names = {context.model.get_submodule(name.rpartition(".")[0]): name for name in context.weights}

    def after(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        if (name := names.get(module)) is not None:
            total = output.numel() // _channels_last(output).shape[-1]
            generator = torch.Generator("cpu").manual_seed(stable_seed("sis", context.seed, name))
            rows[name] = torch.randperm(total, generator=generator, device="cpu")[:num_samples].to(
                output.device
            )
            weight = context.weights[name].detach().flatten(1)
            seen = _rows(output, rows[name])
            layers[name] = Layer(weight, _patches(module, name, inputs[0], output, rows[name]), seen, False)
            scales[name] = torch.ones_like(seen[0])
            output.layer = name  # pyright: ignore[reportAttributeAccessIssue]
        elif isinstance(module, nn.modules.batchnorm._BatchNorm) and (
            name := getattr(inputs[0], "layer", None)
        ):
            assert module.running_var is not None
            scale = (module.running_var + module.eps).rsqrt() * (
                1 if module.weight is None else module.weight
            )
            scales[name] = scale.detach()
            layers[name] = replace(layers[name], before_SO=_rows(output, rows[name]))
            output.layer = name  # pyright: ignore[reportAttributeAccessIssue]

    def before(module: nn.Module, inputs: tuple[Tensor]) -> None:
        if isinstance(module, nn.ReLU) and (name := getattr(inputs[0], "layer", None)):
            layers[name] = replace(layers[name], before_SO=_rows(inputs[0], rows[name]), relu=True)

    hooks = [
        h
        for m in context.model.modules()
        for h in (m.register_forward_hook(after), m.register_forward_pre_hook(before))
    ]
    try:
        context.model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: layer.standard(scales[name]) for name, layer in layers.items()}


def _channels_last(tensor: Tensor) -> Tensor:
    """(N, C, ...) as (N, ..., C)."""
    return tensor.movedim(1, -1)


def _rows(tensor: Tensor, rows: Tensor) -> Tensor:
    """The channels at some positions, (S, C); a copy, because a ReLU may work in place."""
    flat = _channels_last(tensor)
    return flat.reshape(-1, flat.shape[-1])[rows].clone()


def _patches(module: nn.Module, name: str, inputs: Tensor, output: Tensor, rows: Tensor) -> Tensor:
    """What a layer sees at some positions of its output, (S, I), in the order of its flattened weight."""
    if isinstance(module, nn.Linear) and inputs.dim() == 2:
        return _rows(inputs, rows)
    if not isinstance(module, nn.Conv2d) or module.groups > 1 or isinstance(module.padding, str):
        raise UserError(
            f"sis: {name} belongs to a {type(module).__name__} that it cannot read; use imp or one_shot"
        )
    (pad_h, pad_w), width = module.padding, output.shape[3]
    padded = nn.functional.pad(inputs, (pad_w, pad_w, pad_h, pad_h))
    image, place = rows // (output.shape[2] * width), rows % (output.shape[2] * width)
    top, left = place // width * module.stride[0], place % width * module.stride[1]
    height_k, width_k = module.kernel_size
    seen = [
        padded[image, :, top + i * module.dilation[0], left + j * module.dilation[1]]
        for i in range(height_k)
        for j in range(width_k)
    ]
    return torch.stack(seen, 2).flatten(1)
