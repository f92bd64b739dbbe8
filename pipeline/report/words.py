"""How the report names and prints things. Fractions become percent here, and nowhere else."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from granet.methods import METHODS
from granet.studies.plasticity import parse_network
from pipeline.params.files import Params, section_texts
from pipeline.params.schema import section_schema
from pipeline.training.cell import Cell

METHOD_NAMES = {
    "dense": "Dense",
    "static": "Static",
    "small_dense": "Small-Dense",
    "snip": "SNIP",
    "grasp": "GraSP",
    "synflow": "SynFlow",
    "set": "SET",
    "deep_r": "Deep-R",
    "dsr": "DSR",
    "snfs": "SNFS",
    "rigl": "RigL",
    "gmp": "GMP",
    "gmp_original": "GMP",
    "str": "STR",
    "dpf": "DPF",
    "granet": "GraNet",
    "one_shot": "One-shot",
    "imp": "IMP",
    "sis": "SIS",
}
SETTINGS = (  # values of a method that have a name: (method, values, name, what the name says in brackets)
    (
        "rigl",
        {"drop_fraction": 0.3, "drop_fraction_final": 0.0, "regenerate_until": 0.75},
        "RigL",
        "own settings",
    ),
    ("rigl", {"update_interval": "4000it"}, "RigL-ITOP", ""),
)
DISTRIBUTION_NAMES = {"er": "ER", "erk": "ERK"}
MODEL_NAMES = {
    "resnet20": "ResNet-20",
    "vgg19": "VGG-19",
    "resnet50_cifar": "ResNet-50 (CIFAR)",
    "resnet50": "ResNet-50",
}
DATASET_NAMES = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "imagenet": "ImageNet",
    "imagefolder": "an image folder",
}
IMAGENET_SECTIONS = (
    "granet_si06",
    "granet_si07",
    "granet_si08",
    "granet_s2s_2_5x",
    "rigl_2020_5x",
    "rigl_itop_2x",
    "small_dense_5x",
)
"""Sections that only the recipes of the ImageNet tables have."""
FAMILY_NAMES = {
    "dense": "Dense",
    "before_training": "Sparse before training",
    "sparse_to_sparse": "Sparse to sparse",
    "dense_to_sparse": "Dense to sparse",
    "after_training": "After training",
}
REWIND_NAMES = {"lth": "+ LTH", "lrr": "+ LRR"}


@cache
def defaults(method: str) -> dict[str, Any]:
    """What a method's section holds where nothing is changed: the settings of its paper. Empty for an unknown one."""
    if method not in METHODS:
        return {}
    return {field.name: field.default for field in dataclasses.fields(section_schema(method))}


def title(values: Mapping[str, Any], unknown: str = "") -> str:
    """A method section's name, with every value in it that is not the default; the update interval aside.

    So two sections of one title are one method with the same settings. ``unknown`` names a method without a name here.

    >>> title({"method": "granet", "si": 0.5}), title({"method": "gmp", "distribution": "uniform"})
    ('GraNet (si = 0.5)', 'GMP (uniform)')
    >>> title({"method": "granet", "extend": 2.0}), title({"method": "granet", "drop_fraction": 0.3})
    ('GraNet 2x', 'GraNet (si = 0, drop_fraction 0.3)')
    """
    method = values["method"]
    values = defaults(method) | dict(values)
    changed = {key: value for key, value in values.items() if value != defaults(method).get(key)}
    name, notes = METHOD_NAMES.get(method, unknown or method), []
    for owner, settings, own_name, note in SETTINGS:
        if method == owner and settings.items() <= changed.items():
            name, notes = own_name, [note] if note else []
            changed = {key: value for key, value in changed.items() if key not in settings}
    if method == "gmp_original":
        notes.append("original")
    if (factor := changed.pop("extend", 1.0)) != 1:
        name += f" {factor:g}x"
    distribution: str | None = changed.pop("distribution", None)
    if method == "static":
        distribution = values["distribution"]
    si = changed.pop("si", values.get("si"))
    if si is not None and (si > 0 or (factor == 1 and distribution is None)):
        notes.append(f"si = {si:g}")
    if distribution is not None:
        notes.append(DISTRIBUTION_NAMES.get(distribution, distribution))
    for key in ("method", "update_interval"):
        changed.pop(key, None)
    notes += [
        f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}" for key, value in changed.items()
    ]
    return f"{name} ({', '.join(notes)})" if notes else name


def labels(params: Params) -> dict[str, str]:
    """What a reader sees for each method section: its title.

    A section of the user's own keeps its name beside it, and so does one of two sections that would read the same.
    """
    found: dict[str, str] = {"dense": "Dense"}
    first = sorted(params.methods, key=lambda section: section not in METHODS)
    for section in first:
        name = title(params.methods[section], unknown=section)
        known = section in METHODS or section in section_texts() or section in IMAGENET_SECTIONS
        taken = name in found.values() and section != "dense"
        found[section] = name if name == section or (known and not taken) else f"{name}, {section}"
    return found


def stage_of(params: Params, section: str) -> str:
    """The stage that trains a section of the grid."""
    return "after" if section in params.grid.after else "sparse"


def family(params: Params, section: str) -> str:
    """A section's family, which may depend on its values: GraNet starts dense or sparse."""
    if section == "dense":
        return METHODS["dense"]().family
    return params.method(section, params.grid.sparsities[0], steps_per_epoch=1).family


def by_family(params: Params) -> list[str]:
    """The grid's methods, those that start from the trained dense network last: the order of the paper's Table 2."""
    order = list(FAMILY_NAMES)
    sections = [*params.grid.methods, *params.grid.after]
    return sorted(sections, key=lambda section: order.index(family(params, section)))


def counted(number: int, noun: str) -> str:
    """
    >>> counted(1, "seed"), counted(3, "seed")
    ('1 seed', '3 seeds')
    """
    return f"{number} {noun}" + ("" if number == 1 else "s")


def p_value(p: float) -> str:
    """
    >>> p_value(0.0314), p_value(0.00002), p_value(1.0)
    ('p = 0.031', 'p < 0.001', 'p = 1.000')
    """
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


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


def network_name(text: str) -> str:
    """A pre-trained network of the plasticity study.

    >>> network_name("element-0.9"), network_name("filter-0.5"), network_name("element-0.0")
    ('Pre-trained, sparsity 0.9', 'Pre-trained, filter sparsity 0.5', 'Pre-trained, sparsity 0')
    """
    granularity, sparsity = parse_network(text)
    return f"Pre-trained, {'filter ' if granularity == 'filter' else ''}sparsity {sparsity:g}"


def run_name(params: Params, cell: Cell) -> str:
    """What a run trained, without model, data set and sparsity."""
    if cell.network is None:
        return labels(params)[cell.method or "dense"] + suffix(cell)
    own = {"plasticity": ", pruned once", "export": ", shrunk and packed"}
    return network_name(cell.network) + own.get(cell.stage, "")


def listed(values: Sequence[object]) -> str:
    """
    >>> listed([0.0, 0.5, 0.98]), listed([2])
    ('0, 0.5 and 0.98', '2')
    """
    *first, last = [f"{value:g}" if isinstance(value, float) else str(value) for value in values]
    return f"{', '.join(first)} and {last}" if first else last


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


def signed_spread(mean: float, std: float | None) -> str:
    """Mean ± std of differences of fractions, in percentage points.

    >>> signed_spread(-0.0185, 0.002), signed_spread(0.0, None)
    ('−1.85 ± 0.20', '0.00')
    """
    return signed(mean) if std is None else f"{signed(mean)} ± {percent(std)}"


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
