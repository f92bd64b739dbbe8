"""Optimal Brain Damage: how much the loss of a trained network rises where a weight goes (LeCun et al. 1990)."""

from granet.inits.saliency import first_images, loss_gradients, undisturbed
from granet.types import InitContext, Tensors


def obd(context: InitContext, num_images: int = 512) -> Tensors:
    """h w^2 / 2 (LeCun et al. 1990), with the diagonal of the empirical Fisher matrix for the curvature h.

    Where training has converged, the gradient is zero, and this is what is left of the loss's Taylor series when
    curvatures of two weights are left out.
    """
    fisher = diagonal_fisher(context, num_images)
    return {name: fisher[name] * weight.detach().square() / 2 for name, weight in context.weights.items()}


def diagonal_fisher(context: InitContext, num_images: int) -> Tensors:
    """The mean squared gradient of single images, with their labels, over the first ``num_images`` training images.

    The model is in evaluation mode, so that images are independent of each other.
    """
    images, labels = first_images(context, num_images)
    total: Tensors = {}
    with undisturbed(context.model, training=False):
        for image, label in zip(images.split(1), labels.split(1), strict=True):
            for name, gradient in loss_gradients(context, image, label).items():
                total[name] = total[name].addcmul_(gradient, gradient) if name in total else gradient.square()
    return {name: value / len(labels) for name, value in total.items()}
