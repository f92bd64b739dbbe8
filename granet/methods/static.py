"""Random masks that never change."""

from granet.inits.random import random
from granet.method import Method
from granet.methods.parameters import LAYER_SPARSITIES, InitDistribution, Sparsity, checked


@checked
def static(*, sf: Sparsity, distribution: InitDistribution = "erk") -> Method:
    """Static: random masks that never change."""
    return Method("before_training", init=random(LAYER_SPARSITIES[distribution], sf))
