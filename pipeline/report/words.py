"""How the report prints names of data sets and models, and numbers. Fractions become percent here alone."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.params.files import read_yaml

_NAMES: dict[str, dict[str, str]] = read_yaml(Path(__file__).with_name("names.yaml"))
DISTRIBUTION_NAMES, FAMILY_NAMES, REWIND_NAMES = (
    _NAMES[key] for key in ("distributions", "families", "rewinds")
)
MODEL_NAMES, DATASET_NAMES = _NAMES["models"], _NAMES["datasets"]


def counted(number: int, noun: str) -> str:
    """1 seed, 3 seeds."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def p_value(p: float) -> str:
    """p = 0.031, p < 0.001, p = 1.000."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def setting(dataset: str, model: str) -> str:
    """VGG-19 on CIFAR-10."""
    return f"{MODEL_NAMES.get(model, model)} on {DATASET_NAMES.get(dataset, dataset)}"


def listed(values: Sequence[object]) -> str:
    """0, 0.5 and 0.98."""
    *first, last = [f"{value:g}" if isinstance(value, float) else str(value) for value in values]
    return f"{', '.join(first)} and {last}" if first else last


def percent(value: float) -> str:
    """A fraction as a number in percent: 0.9385 is 93.85."""
    return f"{100 * value:.2f}"


def short_percent(value: float) -> str:
    """A fraction as 96.5 %."""
    return f"{100 * value:g} %"


def spread(mean: float, std: float | None) -> str:
    """Mean ± std of fractions, in percent: 92.00 ± 2.00."""
    return percent(mean) if std is None else f"{percent(mean)} ± {percent(std)}"


def signed(value: float) -> str:
    """A difference of two fractions, in percentage points: +0.15, −1.85, 0.00."""
    return _with_sign(100 * value, 2)


def signed_ratio(value: float) -> str:
    """A difference of FLOPs, as a ratio to the dense network's: +0.015×, −0.003×, 0.000×."""
    return f"{_with_sign(value, 3)}×"


def _with_sign(value: float, digits: int) -> str:
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def signed_spread(mean: float, std: float | None) -> str:
    """Mean ± std of differences of fractions, in percentage points: −1.85 ± 0.20."""
    return signed(mean) if std is None else f"{signed(mean)} ± {percent(std)}"


def flops(value: float) -> str:
    """81.6 MFLOPs, 3.45 PFLOPs."""
    for prefix in ("", "k", "M", "G", "T", "P", "E"):
        if value < 999.5:
            return f"{value:.3g} {prefix}FLOPs"
        value /= 1000
    return f"{value:.3g} ZFLOPs"


def duration(seconds: float) -> str:
    """42 s, 3 min 5 s, 2 h 3 min."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def milliseconds(value: float) -> str:
    """
    >>> milliseconds(3.456), milliseconds(34.56)
    ('3.46', '34.6')
    """
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"
