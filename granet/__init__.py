"""GraNet: sparse-training methods in PyTorch, built from schedules, distributions, criteria and granularities."""

from granet.method import Method
from granet.methods import METHODS
from granet.sparsifier import Sparsifier
from granet.types import UserError

__version__ = "0.1.0"
__all__ = ["METHODS", "Method", "Sparsifier", "UserError"]
