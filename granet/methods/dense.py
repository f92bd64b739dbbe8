"""The dense baseline."""

from granet.method import Method


def dense() -> Method:
    """No sparsity: the baseline, through the same loop."""
    return Method("dense")
