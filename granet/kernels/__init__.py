"""Sparse arithmetic: convolutions that compute with the active weights alone, forward and backward, on CPUs."""

from granet.kernels.accelerate import accelerate, follow_memory_order, plain_, stays_dense
from granet.kernels.build import why_not

__all__ = ["accelerate", "follow_memory_order", "plain_", "stays_dense", "why_not"]
