"""How the report names and prints things. Fractions become percent here, and nowhere else."""

from granet.methods import METHODS
from pipeline.params import Params
from pipeline.runs import Cell

METHOD_NAMES = {
    "dense": "Dense",
    "static": "Static",
    "set": "SET",
    "rigl": "RigL",
    "gmp": "GMP",
    "granet": "GraNet",
}
SECTIONS_BY_NAME = {*METHOD_NAMES, "granet_s2s"}
"""Sections that need no more than their method's name and s_i."""
MODEL_NAMES = {
    "resnet20": "ResNet-20",
    "vgg19": "VGG-19",
    "resnet50_cifar": "ResNet-50 (CIFAR)",
    "resnet50": "ResNet-50",
}
DATASET_NAMES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "imagefolder": "an image folder"}
FAMILY_NAMES = {
    "dense": "Dense",
    "before_training": "Sparse before training",
    "sparse_to_sparse": "Sparse to sparse",
    "dense_to_sparse": "Dense to sparse",
}
REWIND_NAMES = {"lth": "+ LTH", "lrr": "+ LRR"}


def labels(params: Params) -> dict[str, str]:
    """What a reader sees for each method section: the method, with s_i where it has one.

    A section of the user's own keeps its name beside it; a method without a display name shows the section's alone.
    """
    found: dict[str, str] = {"dense": "Dense"}
    for section, values in params.methods.items():
        name = METHOD_NAMES.get(values["method"], section)
        name += f" (si = {values['si']:g})" if "si" in values else ""
        taken = name in found.values() and section != "dense"
        plain = name == section or (section in SECTIONS_BY_NAME and not taken)
        found[section] = name if plain else f"{name}, {section}"
    return found


def family(params: Params, section: str) -> str:
    """A section's family, which may depend on its values: GraNet starts dense or sparse."""
    if section == "dense":
        return METHODS["dense"]().family
    return params.method(section, params.grid.sparsities[0], steps_per_epoch=1).family


def by_family(params: Params) -> list[str]:
    """The grid's methods in the order of the paper's Table 2."""
    order = list(FAMILY_NAMES)
    return sorted(params.grid.methods, key=lambda section: order.index(family(params, section)))


def setting(dataset: str, model: str) -> str:
    """A model on a data set.

    >>> setting("cifar10", "vgg19")
    'VGG-19 on CIFAR-10'
    """
    return f"{MODEL_NAMES.get(model, model)} on {DATASET_NAMES.get(dataset, dataset)}"


def suffix(cell: Cell) -> str:
    """What a retraining stage adds to a method's name."""
    if cell.stage == "retrain":
        return " " + REWIND_NAMES.get(cell.rewind or "", f"+ {cell.rewind}")
    return ", reinitialised" if cell.stage == "reinit" else ""


def percent(value: float) -> str:
    """A fraction as a number in percent.

    >>> percent(0.9385)
    '93.85'
    """
    return f"{100 * value:.2f}"


def short_percent(value: float) -> str:
    """
    >>> short_percent(0.965)
    '96.5 %'
    """
    return f"{100 * value:g} %"


def spread(mean: float, std: float | None) -> str:
    """Mean ± std of fractions, in percent.

    >>> spread(0.92, 0.02), spread(0.92, None)
    ('92.00 ± 2.00', '92.00')
    """
    return percent(mean) if std is None else f"{percent(mean)} ± {percent(std)}"


def signed(value: float) -> str:
    """A difference of two fractions, in percentage points.

    >>> signed(0.0015), signed(-0.0185), signed(-0.00001)
    ('+0.15', '−1.85', '0.00')
    """
    text = f"{100 * value:+.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", "−")


def flops(value: float) -> str:
    """
    >>> flops(81_600_000), flops(3.45e15)
    ('81.6 MFLOPs', '3.45 PFLOPs')
    """
    for prefix in ("", "k", "M", "G", "T", "P", "E"):
        if value < 999.5:
            return f"{value:.3g} {prefix}FLOPs"
        value /= 1000
    return f"{value:.3g} ZFLOPs"


def duration(seconds: float) -> str:
    """
    >>> duration(42.3), duration(185), duration(7380)
    ('42 s', '3 min 5 s', '2 h 3 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
