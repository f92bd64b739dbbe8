"""The page of other papers' numbers, from the report's own data file."""

from itertools import groupby

from pipeline.report.paper.comparators import PROTOCOL, Comparator, comparators
from pipeline.report.words import setting

HEAD = """\
# Other papers' numbers

What is in print for sparse training on the data sets of this library, each with its protocol, for a reader who has
numbers of his own. The report puts those of the network and data set at hand [beside ours](pipeline.md), marks what
differs, and averages nothing.

Made from `pipeline/report/paper/comparators.csv` by `python -m docs.make`. **A field that nobody has read in a source
is empty.** Accuracies are top-1 in percent. Protocols are those of the public configurations: what a paper says of its
runs may be more. FLOPs stand as they were given: x is a share of the dense network's, and one MAC is two operations. A
sparsity of 0 is the dense network.
"""
COLUMNS = {
    "sparsity": "sparsity, %",
    "distribution": "distribution",
    "accuracy": "top-1, %",
    "std": "std",
    "training_flops": "training FLOPs",
    "inference_flops": "test FLOPs",
    **{key: key.replace("_", " ") for key in PROTOCOL},
    "note": "note",
}
"""Those that are empty throughout a paper's table are left out of it."""


def page() -> str:
    """docs/comparators.md."""
    by_place = sorted(comparators(), key=lambda one: (one.dataset, one.network))
    sections = [
        _section(dataset, network, list(own))
        for (dataset, network), own in groupby(by_place, lambda one: (one.dataset, one.network))
    ]
    return HEAD + "".join(sections)


def _section(dataset: str, network: str, own: list[Comparator]) -> str:
    tables = [_table(list(several)) for _, several in groupby(own, lambda one: (one.paper, one.read))]
    return f"\n## {setting(dataset, network)}\n" + "".join(tables)


def _table(several: list[Comparator]) -> str:
    """The rows of one paper that were read in one place."""
    first = several[0]
    keys = [key for key in COLUMNS if any(getattr(one, key) for one in several)]
    rows = [[one.method, *(_text(one, key) for key in keys)] for one in several]
    heads = ["method", *(COLUMNS[key] for key in keys)]
    lines = [f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows)]
    return f"\n### {first.paper}\n{first.source}; read in {first.read}.\n\n" + "\n".join(lines) + "\n"


def _text(one: Comparator, key: str) -> str:
    return f"{round(100 * float(one.sparsity), 2):g}" if key == "sparsity" else getattr(one, key)
