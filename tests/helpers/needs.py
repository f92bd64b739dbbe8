"""Reasons to leave a test out."""

import importlib.util

import pytest
import torch

needs_ffcv = pytest.mark.skipif(
    importlib.util.find_spec("ffcv") is None, reason="FFCV is not installed (make setup)"
)

GPU = torch.device("cuda", 0)


def needs_gpus(number: int) -> pytest.MarkDecorator:
    """``number`` or more; `pytest -m gpu tests/gpu` runs what needs one."""
    there = torch.cuda.device_count()
    reason = f"needs {number} GPU{'s' * (number > 1)}, and torch sees {there}"
    return pytest.mark.skipif(there < number, reason=reason)
