"""Saliencies: scores that choose a network's masks before training, from its weights and a few images.

They leave the model as they found it, gradients and BatchNorm statistics included. A higher score is kept.
"""

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from granet.common.devices import moved
from granet.distributions import global_
from granet.inits.random import check_scores
from granet.schedules import geometric
from granet.types import InitContext, Masks, Tensors, UserError
from granet.update import prune

PART = 128
"""Images that GraSP takes at a time, for their memory; each part has its own BatchNorm statistics."""


def snip(context: InitContext, num_images: int = 128) -> Tensors:
    """SNIP (Lee et al. 2019, Eq. 5 and 6): |dL/dc| of a factor c = 1 on every weight, which is |w dL/dw|.

    L is the loss of ``context`` on the first ``num_images`` training images, with the batch's own BatchNorm statistics.
    """
    images, labels = first_images(context, num_images)
    with undisturbed(context.model):
        gradients = loss_gradients(context, images, labels)
    return {name: (weight.detach() * gradients[name]).abs() for name, weight in context.weights.items()}


def grasp(context: InitContext, images_per_class: int = 10, temperature: float = 200.0) -> Tensors:
    """GraSP (Wang et al. 2020, Eq. 8): w (H g), with g and H the gradient and Hessian of the loss.

    Removing a weight changes g'g by -2 w (H g) to first order: where w (H g) is large and positive, the flow of the
    gradient would suffer most, so the highest scores are kept. ``images_per_class`` images of every class decide,
    or the first 128 where labels are no classes; the outputs are divided by ``temperature``.
    """
    images, labels = _images_of_every_class(context, images_per_class)
    parts = list(zip(images.split(PART), labels.split(PART), strict=True))

    def gradients(part: tuple[Tensor, Tensor], *, create_graph: bool = False) -> Tensors:
        loss = _loss(context, *part, temperature)
        return _gradients(loss * (len(part[1]) / len(labels)), context.weights, create_graph=create_graph)

    # the fast forms of attention have no second derivative
    with undisturbed(context.model), sdpa_kernel(SDPBackend.MATH):
        mean = _sum(gradients(part) for part in parts)
        products = _sum(_product(gradients(part, create_graph=True), mean, context.weights) for part in parts)
    return {name: weight.detach() * products[name] for name, weight in context.weights.items()}


def synflow(context: InitContext, sparsity: float, rounds: int = 100) -> Masks:
    """SynFlow (Tanaka et al. 2020, Algorithm 1): prune by synaptic flow along an exponential, score anew each round.

    Needs no data but the shape of an image. In float64, because the flow of a deep network spans many powers of ten.
    Raises UserError where so few weights are left that no path leads through the network.
    """
    image, _ = first_images(context, 1)
    if not image.is_floating_point():
        raise UserError(
            f"batches: SynFlow sends an image of ones, and these inputs are {image.dtype}; use another method"
        )
    image_shape = tuple(image.shape[1:])
    model = copy.deepcopy(context.model).to(float64_device(image.device)).double()
    weights = dict(zip(context.weights, _same_weights(context, model), strict=True))
    target = geometric(0.0, sparsity, 0, rounds)
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():  # not a mask of attention, or an index
                tensor.abs_()
    for step in range(1, rounds + 1):
        flows = synaptic_flow(model, weights, image_shape)
        if step > 1 and not any(flow.any() for flow in flows.values()):
            raise UserError(
                f"sparsity={sparsity}: SynFlow has no path left through the network after {step - 1} of its {rounds} "
                "rounds; take a lower sparsity, or more rounds"
            )
        scores = check_scores(flows, "SynFlow")
        masks = prune(masks, scores, global_(scores, masks, target(step)))
        with torch.no_grad():
            for name, weight in weights.items():
                weight.mul_(masks[name])
    return masks


def float64_device(device: torch.device) -> torch.device:
    """``device``, or the CPU in place of one that has no float64: Apple's GPUs."""
    return torch.device("cpu") if device.type == "mps" else device


def synaptic_flow(model: nn.Module, weights: Tensors, image_shape: tuple[int, ...]) -> Tensors:
    """w dR/dw of ``model``, whose parameters are non-negative, R the sum of its outputs for an image of ones.

    The scores of every layer that all paths pass through, and that has no bias, add up to R: the flow is conserved.
    """
    first = next(iter(weights.values()))
    with undisturbed(model, training=False):
        flow = model(torch.ones((1, *image_shape), dtype=first.dtype, device=first.device)).sum()
        gradients = _gradients(flow, weights)
    return {name: weight.detach() * gradients[name] for name, weight in weights.items()}


def training_batches(context: InitContext) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of ``context``, on the model's device. Raises UserError where none were given."""
    if context.batches is None:
        raise UserError(
            "batches=None: this method chooses its masks from training images; pass batches to Sparsifier"
        )
    device = next(iter(context.weights.values())).device
    batches = context.batches() if callable(context.batches) else context.batches
    return ((moved(inputs, device), moved(labels, device)) for inputs, labels in batches)


def _together(images: list[Tensor], labels: list[Tensor]) -> tuple[Tensor, Tensor]:
    """All in one tensor each. Raises UserError where there is nothing."""
    if not images:
        raise UserError(
            "batches: there is none, or an iterator that was read to its end; pass a DataLoader, or a function that "
            "returns new ones"
        )
    return torch.cat(images), torch.cat(labels)


def loss_gradients(context: InitContext, images: Tensor, labels: Tensor) -> Tensors:
    """dL/dw of a batch, by name, in the mode that the model is in."""
    return _gradients(_loss(context, images, labels), context.weights)


def _loss(context: InitContext, images: Tensor, labels: Tensor, temperature: float = 1.0) -> Tensor:
    """The loss of a batch, in float32 or better. Raises UserError where it does not go with outputs and labels."""
    outputs = context.model(images)
    if isinstance(outputs, Tensor):
        outputs = (outputs.float() if outputs.element_size() < 4 else outputs) / temperature
    try:
        return context.loss(outputs, labels)
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError) as error:
        shapes = f"outputs {_shape(outputs)}, labels {_shape(labels)}"
        reason = str(error).splitlines()[0]
        raise UserError(
            f"loss: {reason} ({shapes}); pass the loss of your training: Sparsifier(..., loss=)"
        ) from None


def _shape(value: object) -> str:
    return f"{tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else type(value).__name__


def first_images(context: InitContext, num_images: int) -> tuple[Tensor, Tensor]:
    """The first ``num_images`` training images and their labels; all of them where there are fewer."""
    images, labels = [], []
    for images_NCHW, labels_N in training_batches(context):
        missing = num_images - sum(map(len, labels))
        images.append(images_NCHW[:missing].clone())  # a loader may use its buffers again
        labels.append(labels_N[:missing].clone())
        if missing <= len(labels_N):
            break
    return _together(images, labels)


def _images_of_every_class(context: InitContext, images_per_class: int) -> tuple[Tensor, Tensor]:
    """The first ``images_per_class`` training images of every class; what there is of a class with fewer.

    A label that is no class (an ignore_index) is passed over. Where labels are no classes at all, the first `PART`.
    """
    images, labels, missing = [], [], {}
    for images_NCHW, labels_N in training_batches(context):
        if not missing:
            with torch.no_grad(), undisturbed(context.model, training=False):
                outputs = context.model(images_NCHW[:1])
            is_class = labels_N.dim() == 1 and labels_N.dtype in (torch.long, torch.int)
            if not (is_class and isinstance(outputs, Tensor) and outputs.dim() == 2):
                return first_images(context, PART)
            missing = dict.fromkeys(range(outputs.shape[1]), images_per_class)
        rows = []
        for row, label in enumerate(labels_N.tolist()):
            if missing.get(label, 0) > 0:
                missing[label] -= 1
                rows.append(row)
        images.append(images_NCHW[rows])
        labels.append(labels_N[rows])
        if not any(missing.values()):
            break
    return _together(images, labels)


def _gradients(value: Tensor, weights: Tensors, *, create_graph: bool = False) -> Tensors:
    """d value / d weight by name; zero where a weight has no part in it."""
    gradients = torch.autograd.grad(
        value, list(weights.values()), create_graph=create_graph, materialize_grads=True
    )
    return dict(zip(weights, gradients, strict=True))


def _product(gradients: Tensors, vector: Tensors, weights: Tensors) -> Tensors:
    """Hessian times ``vector``, from gradients with a graph."""
    flow = torch.stack([(gradients[name] * vector[name]).sum() for name in weights]).sum()
    return _gradients(flow, weights)


def _sum(parts: Iterable[Tensors]) -> Tensors:
    """Tensors of the same names, added up."""
    total: Tensors = {}
    for part in parts:
        total = {name: total[name] + value for name, value in part.items()} if total else part
    return total


def _same_weights(context: InitContext, model: nn.Module) -> list[Tensor]:
    """The weights of ``context`` in a copy of its model."""
    return [model.get_parameter(name) for name in context.weights]


@contextmanager
def undisturbed(model: nn.Module, *, training: bool = True) -> Iterator[None]:
    """Put the model into a mode, and leave mode and buffers (BatchNorm statistics) as they were.

    Recurrent layers compute without cuDNN, which has no gradient in evaluation mode, and no second one at all.
    """
    is_recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    modes = {module: module.training for module in model.modules()}
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.train(training)
    try:
        with torch.backends.cudnn.flags(enabled=False) if is_recurrent else nullcontext():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
