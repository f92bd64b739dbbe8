"""Pickles of plain values and NumPy arrays, and of nothing else: no code runs that the writer of a file has chosen.

A pickle is a small program, which calls functions by their module and name. Here it may call those of a table alone.
"""

import pickle
from typing import IO, Any

import numpy as np

ARRAY, ARRAY_5, NUMBER = (
    reduced[0]
    for reduced in (np.empty(0).__reduce__(), np.empty(0).__reduce_ex__(5), np.int64().__reduce__())
)
"""What NumPy builds an array (by the old protocols, and by protocol 5) and a number with."""
ALLOWED: dict[str, Any] = {
    "numpy.ndarray": np.ndarray,
    "numpy.dtype": np.dtype,
    "_codecs.encode": str.encode,  # bytes, by the protocols of Python 2
    **{
        f"numpy.{core}.{name}": function
        for core in ("core", "_core")  # before NumPy 2, and since
        for name, function in {
            "multiarray._reconstruct": ARRAY,
            "multiarray.scalar": NUMBER,
            "numeric._frombuffer": ARRAY_5,
        }.items()
    },
}


class _Unpickler(pickle.Unpickler):
    """Python's own, but for the names that it looks up."""

    def find_class(self, module: str, name: str) -> Any:
        """What a pickle calls ``module.name``; any other than those of ALLOWED is not even imported."""
        try:
            return ALLOWED[f"{module}.{name}"]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which arrays do not need") from None


def load(file: IO[bytes]) -> Any:
    """What a pickle holds; texts of Python 2 are bytes.

    Raises pickle.UnpicklingError, with its name, where it asks for anything but arrays, and any exception where it is
    damaged.
    """
    return _Unpickler(file, encoding="bytes").load()
