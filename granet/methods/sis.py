"""Subdifferential inclusion for sparsity."""

from functools import partial

from granet.inits.random import Highest
from granet.inits.sis import sis as inclusion
from granet.method import Method
from granet.methods.parameters import NumImages, Sparsity, checked


@checked
def sis(*, sf: Sparsity, num_images: NumImages = 256) -> Method:
    """SIS (Verma & Pesquet 2021): what the trained activations need, by subdifferential inclusion; retrained."""
    return Method("after_training", Highest(partial(inclusion, num_images=num_images), sf))
