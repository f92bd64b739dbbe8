"""What a reader sees of a method section: its name, its colour, and where it stands among the others."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from granet.common.steps import parse_time
from granet.methods import METHODS, TIME
from granet.studies.plasticity import parse_network
from granet.types import UserError
from pipeline.params import sections
from pipeline.params.files import section_texts
from pipeline.params.schema import Params, section_schema
from pipeline.report.words import DISTRIBUTION_NAMES, FAMILY_NAMES, REWIND_NAMES
from pipeline.training.cell import Cell, Group

Values = Mapping[str, Any]
SPARE_COLORS = ("#4c566a", "#c44e8b", "#5b8c2a", "#3f7fbf", "#b5651d")
"""For sections of the user's own."""


@cache
def defaults(method: str) -> dict[str, Any]:
    """What a method's section holds where nothing is changed: the settings of its paper. Empty for an unknown one."""
    if method not in METHODS:
        return {}
    schema = section_schema(method)
    return {key: field.default for key, field in schema.__dataclass_fields__.items()}


def resolved(values: Values) -> dict[str, Any]:
    """A section completed by its method's defaults, with points in time that can be compared.

    Two of those are equal where they are the same step in a run of any length.

    >>> resolved({"method": "granet", "t0": "0ep"}) == resolved({"method": "granet", "t0": "0it"})
    True
    """
    method = values["method"]
    complete = defaults(method) | dict(values)
    times = sections.keys(METHODS[method], TIME) if method in METHODS else []
    return complete | {key: _time(complete[key]) for key in times}


def _time(text: str) -> object:
    """Its steps where an epoch has none, and where it has a million; "auto" stays what it is."""
    try:
        return tuple(parse_time(text, steps, key="time") for steps in (0, 1_000_000))
    except UserError:
        return text


def changed(values: Values) -> dict[str, Any]:
    """The values of a section that are not its method's defaults, as params.yaml has them."""
    standard, complete = resolved({"method": values["method"]}), resolved(values)
    return {key: values[key] for key, value in complete.items() if value != standard.get(key)}


def variant(values: Values) -> str | None:
    """The section of conf/sections.yaml that has a name for these values, beyond its method's; None: there is none.

    >>> variant({"method": "rigl", "update_interval": "4000it"})
    'rigl_itop'
    """
    special = {"method": values["method"], **changed(values)}
    for section, text in section_texts().items():
        if "says" in text and text["says"].items() <= special.items():
            return section
    return None


def title(values: Values, unknown: str = "") -> str:
    """A method section's name, with every value in it that is not the default; the update interval aside.

    ``unknown`` names a method that conf/sections.yaml does not.

    >>> title({"method": "granet", "si": 0.5}), title({"method": "gmp", "distribution": "uniform"})
    ('GraNet (si = 0.5)', 'GMP (uniform)')
    >>> title({"method": "granet", "extend": 2.0}), title({"method": "granet", "drop_fraction": 0.3})
    ('GraNet 2x', 'GraNet (si = 0, drop_fraction 0.3)')
    """
    method = values["method"]
    text = section_texts().get(variant(values) or method, {})
    name = text.get("name", unknown or method)
    others = {key: value for key, value in changed(values).items() if key not in text.get("says", {})}
    if (factor := others.get("extend", 1.0)) != 1:
        name += f" {factor:g}x"
    notes = [text["note"]] if "note" in text else []
    notes += _notes(defaults(method) | dict(values), others)
    return f"{name} ({', '.join(notes)})" if notes else name


def _notes(values: Values, others: Values) -> Iterator[str]:
    """What stands in brackets: the initial sparsity and the distribution where they tell, then all ``others``."""
    distribution = values["distribution"] if values["method"] == "static" else others.get("distribution")
    si = values.get("si")
    if si is not None and (si > 0 or ("extend" not in others and distribution is None)):
        yield f"si = {si:.10g}"
    if distribution is not None:
        yield DISTRIBUTION_NAMES.get(distribution, str(distribution))
    for key, value in others.items():
        if key not in ("method", "update_interval", "extend", "si", "distribution"):
            yield f"{key} {value:.10g}" if isinstance(value, float) else f"{key} {value}"


def labels(params: Params) -> dict[str, str]:
    """What a reader sees for each method section: its title.

    A section of the user's own keeps its name beside it, and so does one of two sections that would read the same.
    """
    names = {"dense": title({"method": "dense"})}
    for section in sorted(params.methods, key=lambda section: section not in METHODS):
        name = title(params.methods[section], unknown=section)
        known = section in section_texts() or section in METHODS
        taken = name in names.values() and section != "dense"
        names[section] = name if name == section or (known and not taken) else f"{name}, {section}"
    return names


def colors(params: Params) -> dict[str, str]:
    """A colour per method section; the known ones keep theirs in every report."""
    known = {section: text["color"] for section, text in section_texts().items()}
    others = [section for section in params.methods if section not in known]
    spare = {section: SPARE_COLORS[index % len(SPARE_COLORS)] for index, section in enumerate(others)}
    return known | spare


def stage_of(params: Params, section: str) -> str:
    """The stage that trains a section of the grid."""
    return "after" if section in params.grid.after else "sparse"


def family(params: Params, section: str) -> str:
    """The heading of a section's family, which may depend on its values: GraNet starts dense or sparse."""
    values = params.methods[section] if section != "dense" else {"method": "dense"}
    row = METHODS[values["method"]]
    plain = {key: values[key] for key in ("si",) if key in values}
    if values["method"] != "dense":
        plain["sf"] = params.grid.sparsities[0]
    return FAMILY_NAMES[row(**plain).family]


def by_family(params: Params) -> list[str]:
    """The grid's methods, those that start from the trained dense network last: the order of the paper's Table 2."""
    order = list(FAMILY_NAMES.values())
    return sorted(
        [*params.grid.methods, *params.grid.after], key=lambda section: order.index(family(params, section))
    )


def suffix(group: Group | Cell) -> str:
    """What a retraining stage adds to a method's name."""
    if group.stage == "retrain":
        return " " + REWIND_NAMES.get(group.rewind or "", f"+ {group.rewind}")
    return ", reinitialised" if group.stage == "reinit" else ""


def network_name(text: str) -> str:
    """A pre-trained network of the plasticity study.

    >>> network_name("element-0.9"), network_name("filter-0.5"), network_name("element-0.0")
    ('Pre-trained, sparsity 0.9', 'Pre-trained, filter sparsity 0.5', 'Pre-trained, sparsity 0')
    """
    granularity, sparsity = parse_network(text)
    return f"Pre-trained, {'filter ' if granularity == 'filter' else ''}sparsity {sparsity:g}"


def run_name(params: Params, group: Group) -> str:
    """What a run trained, without model, data set and sparsity."""
    if group.network is None:
        return labels(params)[group.method or "dense"] + suffix(group)
    studied = {"plasticity": ", pruned once", "export": ", shrunk and packed"}
    return network_name(group.network) + studied.get(group.stage, "")
