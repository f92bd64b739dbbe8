"""What the pictures of the report and of a training run share: style, series. matplotlib without pyplot.

So there is no global figure and no display. Accuracies and sparsities come in as fractions and are drawn in percent.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from granet.common.files import atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 180
UNDATED = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
"""Formats of pictures, and what they would say of when and by what they were made."""
GREY, INK = "#6b7280", "#1f2937"
STYLE = Path(__file__).with_suffix(".mplstyle")


@dataclass(frozen=True)
class Series:
    """One method at one final sparsity: what a figure draws of it."""

    label: str
    color: str
    sparsity: float | None
    """None for the dense model, which belongs to every sparsity."""
    group: str
    family: str = ""
    values: Sequence[float] = ()
    """Test accuracy, one per seed."""
    again: Sequence[float] = ()
    """The same after reinitialisation."""


def import_matplotlib() -> None:
    """So that later figures do not wait for it."""
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401


@contextmanager
def drawn(path: Path, width: float, height: float) -> Iterator["Figure"]:
    """A figure of that size in inches, saved as PNG or SVG when the block ends. The same input gives the same bytes."""
    import matplotlib
    from matplotlib.figure import Figure

    kind = path.suffix.removeprefix(".")
    with matplotlib.rc_context({"svg.hashsalt": "granet", "svg.fonttype": "none"}, STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        atomic(path, partial(figure.savefig, dpi=DPI, format=kind, metadata=UNDATED[kind]))


def sparsities_of(series: Sequence[Series]) -> list[float]:
    """The final sparsities that have something to draw."""
    return sorted({s.sparsity for s in series if s.sparsity is not None and s.values})
