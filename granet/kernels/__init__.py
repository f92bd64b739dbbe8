"""Sparse arithmetic: convolutions that compute with the active weights alone, forward and backward, on CPUs."""

from granet.kernels.accelerate import accelerate, why_not

__all__ = ["accelerate", "why_not"]
