"""The one mutable object of sparse training, and what it keeps an eye on in a stranger's loop."""

from granet.sparsifier.sparsifier import Sparsifier

__all__ = ["Sparsifier"]
