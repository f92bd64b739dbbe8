"""Optimal Brain Damage."""

from functools import partial

from granet.inits import fisher
from granet.inits.random import Highest
from granet.method import Method
from granet.methods.parameters import NumImages, Sparsity, checked


@checked
def obd(*, sf: Sparsity, num_images: NumImages = 512) -> Method:
    """OBD (LeCun et al. 1990): prune the trained network by h w^2 / 2, h the diagonal Fisher, globally; retrained.

    One pass over single images scores it. Left out: second derivatives by backpropagation, in whose place the squared
    gradients are, and its rounds of pruning and retraining.
    """
    return Method("after_training", Highest(partial(fisher.obd, num_images=num_images), sf))
