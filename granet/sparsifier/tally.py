"""How many weights are active, without asking the device at every step, and a word where a layer has none left."""

import warnings

from granet.masks import num_active
from granet.types import Counts, Masks


class Tally:
    """Counts of masks that change in place, by the Sparsifier or by somebody else."""

    def __init__(self, masks: Masks) -> None:
        self._masks = masks
        self._emptied: set[str] = set()
        self._versions: list[int] | None = None
        self.counts: Counts = {}

    def is_stale(self) -> bool:
        """Whether a mask has been written to since the last count; costs no device work."""
        return self._versions != [mask._version for mask in self._masks.values()]

    def count(self, instead: Masks) -> None:
        """Count anew; ``instead`` are masks that stand for those of the same name."""
        self._versions = [mask._version for mask in self._masks.values()]
        self.counts = num_active(self._masks | instead)

    def warn_of_empty(self, step: int, *, stacklevel: int) -> None:
        """Warn, once for each, of layers that have no weight left: the output no longer depends on what they get."""
        empty = self._empty() - self._emptied
        if empty:
            self._emptied |= empty
            warnings.warn(
                f"step {step}: no weight is left in {', '.join(sorted(empty))}, so nothing passes there; lower the "
                "sparsity, or, where the method prunes, give layers a floor (granet.distributions.at_least)",
                stacklevel=stacklevel,
            )

    def know_empty(self) -> None:
        """Layers that have no weight left now are not news: somebody was warned before."""
        self._emptied |= self._empty()

    def _empty(self) -> set[str]:
        return {name for name, count in self.counts.items() if count == 0}
