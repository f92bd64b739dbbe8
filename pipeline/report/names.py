"""What a reader sees of a method section: its name, its colour, its place among the others."""

from collections.abc import Mapping
from functools import cache
from itertools import cycle
from typing import Any

from granet.common.steps import parse_time
from granet.methods import METHODS
from granet.studies.plasticity import parse_network
from granet.types import UserError
from pipeline.params.files import section_texts
from pipeline.params.schema import Params, family, section_schema
from pipeline.report.words import DISTRIBUTION_NAMES, FAMILY_NAMES, REWIND_NAMES
from pipeline.training.cell import Group

Values = Mapping[str, Any]
SPARE_COLORS = ("#4c566a", "#c44e8b", "#5b8c2a", "#3f7fbf", "#b5651d")
"""For sections of the user's own."""


@cache
def defaults(method: str) -> dict[str, Any]:
    """What a method's section holds where nothing is changed: the settings of its paper. Empty for an unknown one."""
    fields = section_schema(method).__dataclass_fields__ if method in METHODS else {}
    return {key: field.default for key, field in fields.items()}


def resolved(values: Values) -> dict[str, Any]:
    """A section completed by its method's defaults, with times that are equal where they mean the same step."""
    complete = defaults(values["method"]) | dict(values)
    return {key: _comparable(value) if isinstance(value, str) else value for key, value in complete.items()}


@cache
def _comparable(text: str) -> object:
    """A time's steps where an epoch has none, and where it has a million; any other text stays what it is."""
    try:
        return tuple(parse_time(text, steps, key="time") for steps in (0, 1_000_000))
    except UserError:
        return text


def changed(values: Values) -> dict[str, Any]:
    """The values of a section that are not its method's defaults, as params.yaml has them."""
    standard = resolved({"method": values["method"]})
    return {key: values[key] for key, value in resolved(values).items() if value != standard.get(key)}


def variant(values: Values) -> str | None:
    """The section of conf/sections.yaml that has a name for these values, beyond its method's: rigl_itop, rigl_2020."""
    special = {"method": values["method"], **changed(values)}.items()
    says = {section: text["says"].items() for section, text in section_texts().items() if "says" in text}
    return next((section for section, said in says.items() if said <= special), None)


def title(values: Values, unknown: str = "") -> str:
    """A method section's name, with every value in it that is not the default; the update interval aside.

    As "GraNet 2x", "GraNet (si = 0, drop_fraction 0.3)". ``unknown`` names a method that conf/sections.yaml does not.
    """
    method = values["method"]
    text = section_texts().get(variant(values) or method, {})
    name = text.get("name", unknown or method)
    others = {key: value for key, value in changed(values).items() if key not in text.get("says", {})}
    if (factor := others.get("extend", 1.0)) != 1:
        name += f" {factor:g}x"
    notes, complete = [text["note"]] if "note" in text else [], defaults(method) | dict(values)
    distribution = complete["distribution"] if method == "static" else others.get("distribution")
    si = complete.get("si")
    if si is not None and (si > 0 or ("extend" not in others and distribution is None)):
        notes.append(f"si = {si:.10g}")
    if distribution is not None:
        notes.append(DISTRIBUTION_NAMES.get(distribution, str(distribution)))
    for key, value in others.items():
        if key not in ("method", "update_interval", "extend", "si", "distribution"):
            notes.append(f"{key} {value:.10g}" if isinstance(value, float) else f"{key} {value}")
    return f"{name} ({', '.join(notes)})" if notes else name


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
    return known | dict(zip(others, cycle(SPARE_COLORS), strict=False))


def heading(params: Params, section: str) -> str:
    """The name of a section's family, which may depend on its values: GraNet starts dense or sparse."""
    return FAMILY_NAMES[family(params.methods.get(section, {"method": "dense"}))]


def by_family(params: Params) -> list[str]:
    """The grid's methods, those that start from the trained dense network last: the order of the paper's Table 2."""
    order, grid = list(FAMILY_NAMES), params.grid
    return sorted(
        [*grid.methods, *grid.after, *grid.chains], key=lambda section: order.index(params.family(section))
    )


def suffix(group: Group) -> str:
    """What a retraining stage adds to a method's name."""
    if group.rewind:
        return f" {REWIND_NAMES[group.rewind]}"
    return {"reinit": ", reinitialised", "soup": ", soup"}.get(group.stage, "")


def network_name(text: str) -> str:
    """A pre-trained network of the plasticity study; filter-0.5 is "Pre-trained, filter sparsity 0.5"."""
    granularity, sparsity = parse_network(text)
    return f"Pre-trained, {'filter ' if granularity == 'filter' else ''}sparsity {sparsity:g}"


def run_name(params: Params, group: Group) -> str:
    """What a run trained, without model, data set and sparsity."""
    if group.network is None:
        return labels(params)[group.method or "dense"] + suffix(group)
    studied = {"plasticity": ", pruned once", "export": ", shrunk and packed"}
    return network_name(group.network) + studied.get(group.stage, "")
