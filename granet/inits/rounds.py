"""Pruning at initialisation in rounds: the sensitivity of the loss is scored anew after each (de Jorge et al. 2021)."""

from collections.abc import Iterator

import torch
from torch import Tensor

from granet.common.optimizers import detached
from granet.distributions import global_
from granet.inits.random import check_scores, everything
from granet.inits.saliency import loss_gradients, training_batches, undisturbed
from granet.schedules import geometric
from granet.types import InitContext, Masks, Tensors, UserError
from granet.update import prune


def in_rounds(
    context: InitContext, sparsity: float, rounds: int, num_images: int, *, recover: bool = False
) -> Masks:
    """SNIP in ``rounds``: score, prune to the next sparsity of an exponential, globally, and score what is left.

    Scores are |w g|, with g the gradient of the network as it is pruned so far. What is pruned stays so (Iterative
    SNIP); with ``recover`` w is the initial value of every weight, active or not, so that what g wants back may come
    back (FORCE). Every round takes the next ``num_images`` training images.
    """
    initial = {name: weight.detach().clone() for name, weight in context.weights.items()}
    full = {name: mask.to(initial[name].device) for name, mask in everything(context).items()}
    target, masks, images = geometric(0.0, sparsity, 0, rounds), full, images_in_turn(context, num_images)
    try:
        with undisturbed(context.model):
            for step in range(1, rounds + 1):
                gradients = loss_gradients(context, *next(images))
                scores = {name: (weight * gradients[name]).abs() for name, weight in initial.items()}
                pruned_from = full if recover else masks
                check_scores({n: s[pruned_from[n]] for n, s in scores.items()}, f"round {step} of pruning")
                masks = prune(pruned_from, scores, global_(scores, pruned_from, target(step)))
                put_({name: weight * masks[name] for name, weight in initial.items()}, context.weights)
    finally:
        put_(initial, context.weights)
    return masks


@torch.no_grad()
def put_(values: Tensors, weights: Tensors) -> None:
    """Set the weights to ``values``."""
    for name, weight in detached(weights).items():
        weight.copy_(values[name])


def images_in_turn(context: InitContext, num_images: int) -> Iterator[tuple[Tensor, Tensor]]:
    """``num_images`` training images and their labels at a time, and from the first ones again, without end.

    What is left over at the end is passed over, but where there are fewer than ``num_images`` it is all of them. Raises
    UserError where the batches can be read only once, and are not enough.
    """
    while True:
        images, labels, num_parts = [], [], 0
        for images_NCHW, labels_N in training_batches(context):
            images.append(images_NCHW.clone())  # a loader may use its buffers again
            labels.append(labels_N.clone())
            while sum(map(len, labels)) >= num_images:
                all_images, all_labels = torch.cat(images), torch.cat(labels)
                yield all_images[:num_images], all_labels[:num_images]
                images, labels = [all_images[num_images:]], [all_labels[num_images:]]
                num_parts += 1
        if num_parts == 0:
            if not sum(map(len, labels)):
                raise UserError(
                    "batches: they end before the last round of pruning; pass what can be read again: a list, a "
                    "DataLoader, or a function that returns one"
                )
            yield torch.cat(images), torch.cat(labels)
