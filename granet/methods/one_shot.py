"""Pruning the trained network once."""

from granet.inits.random import Highest, trained_magnitude
from granet.method import Method
from granet.methods.parameters import Sparsity, checked


@checked
def one_shot(*, sf: Sparsity) -> Method:
    """One-shot: prune the trained dense network by magnitude, globally, and retrain with the full schedule."""
    return Method("after_training", Highest(trained_magnitude, sf))
