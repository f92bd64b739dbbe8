"""Pruning at initialisation by the synaptic flow, without data."""

from granet.inits import saliency
from granet.method import Method
from granet.methods.parameters import Rounds, Sparsity, checked


@checked
def synflow(*, sf: Sparsity, rounds: Rounds = 100) -> Method:
    """SynFlow (Tanaka et al. 2020): iterative, without data, conserving the flow of every layer."""
    return Method("before_training", lambda context: saliency.synflow(context, sf, rounds))
