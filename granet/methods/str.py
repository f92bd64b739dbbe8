"""Learned soft thresholds."""

from granet.criteria import over_threshold
from granet.inits.random import everything
from granet.method import Method
from granet.methods.gradual import gradual
from granet.methods.parameters import PruneEnd, PruneStart, Sparsity, UpdateInterval, checked
from granet.projection import Forward, SoftThreshold


@checked
def str_(
    *, sf: Sparsity, t0: PruneStart = 0, tf: PruneEnd = None, update_interval: UpdateInterval = 100
) -> Method:
    """STR (Kusupati et al. 2020): learned soft thresholds; a common factor brings them to the sparsity of Eq. 1.

    To the end of training, since weight decay goes on pulling weights below their threshold.
    """
    prune_ = gradual(sf, t0, tf, "global", criterion=over_threshold, until="end")
    return Method("dense_to_sparse", everything, update_interval, prune_, projection=Forward(SoftThreshold))
