"""Pruning at initialisation by the flow of the gradient."""

from functools import partial
from typing import Annotated

from granet.common.keys import Key
from granet.inits import saliency
from granet.inits.random import Highest
from granet.method import Method
from granet.methods.parameters import Sparsity, checked


@checked
def grasp(
    *,
    sf: Sparsity,
    images_per_class: Annotated[int, Key("training images of every class that decide", at_least=1)] = 10,
    temperature: Annotated[float, Key("divides the logits", at_least=1)] = 200.0,
) -> Method:
    """GraSP (Wang et al. 2020): the weights that keep the gradient flowing at initialisation."""
    scores = partial(saliency.grasp, images_per_class=images_per_class, temperature=temperature)
    return Method("before_training", Highest(scores, sf))
