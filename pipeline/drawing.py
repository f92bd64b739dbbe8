"""What the pictures of the report and of a training run share: style, colours, series. matplotlib without pyplot.

So there is no global figure and no display. Accuracies and sparsities come in as fractions and are drawn in percent.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import stdev
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 180
GREY, INK = "#6b7280", "#1f2937"
PALETTE = {  # a colour per known section, apart within a family; the first of each family are Okabe and Ito's
    "dense": "#1f2937",
    "static": "#cc79a7",
    "static_er": "#b07aa1",
    "static_uniform": "#e8a6c8",
    "small_dense": "#999933",
    "snip": "#332288",
    "grasp": "#117733",
    "synflow": "#c2661a",
    "set": "#009e73",
    "rigl": "#56b4e9",
    "granet_s2s": "#0072b2",
    "deep_r": "#aa4499",
    "dsr": "#882255",
    "snfs": "#bba02f",
    "rigl_2020": "#7d8fa8",
    "rigl_itop": "#44aa99",
    "gmp": "#e69f00",
    "granet": "#d55e00",
    "str": "#2e7d52",
    "dpf": "#7a7a1f",
    "gmp_uniform": "#f0c75e",
    "gmp_original": "#9c6b00",
    "granet_uniform": "#ee9a77",
    "granet_2x": "#8c1c13",
    "sis": "#6a3d9a",
    "granet_si06": "#3f8fd0",
    "granet_si07": "#6aa9dd",
    "granet_si08": "#9cc6ea",
    "granet_s2s_2_5x": "#003f6b",
    "rigl_itop_2x": "#2c7a70",
    "rigl_2020_5x": "#4d5d6c",
    "small_dense_5x": "#66661f",
    "imp": "#1b9e9e",
    "one_shot": "#a6611a",
}
SPARE = (  # for sections of the user's own
    "#4c566a",
    "#c44e8b",
    "#5b8c2a",
    "#3f7fbf",
    "#b5651d",
)
STYLE: dict[str, Any] = {
    "font.size": 8.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#9ca3af",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e5e7eb",
    "grid.linewidth": 0.7,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}


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


def colors(sections: Sequence[str]) -> dict[str, str]:
    """A colour per method section; the known ones keep theirs in every report."""
    others = [name for name in sections if name not in PALETTE]
    return PALETTE | {name: SPARE[index % len(SPARE)] for index, name in enumerate(others)}


@contextmanager
def drawn(path: Path, width: float, height: float) -> Iterator["Figure"]:
    """A figure of that size in inches, saved when the block ends. The same input gives the same bytes."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=DPI, metadata={"Software": None})


def percent(fraction: float) -> str:
    """
    >>> percent(0.965)
    '96.5 %'
    """
    return f"{100 * fraction:g} %"


def sparsities_of(series: Sequence[Series]) -> list[float]:
    """The final sparsities that have something to draw."""
    return sorted({s.sparsity for s in series if s.sparsity is not None and s.values})


def deviation(values: Sequence[float]) -> float:
    """Sample standard deviation; 0 for one value."""
    return stdev(values) if len(values) > 1 else 0.0
