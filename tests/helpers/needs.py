"""Reasons to leave a test out."""

import importlib.util

import pytest

needs_ffcv = pytest.mark.skipif(
    importlib.util.find_spec("ffcv") is None, reason="FFCV is not installed (make setup)"
)
