"""The page of all methods, from the table itself: docstring, formula, parameters, file and curve."""

import inspect
import re
import typing
from collections.abc import Callable

from docs.make.formulas import FORMULAS
from granet import METHODS, Method
from granet.common.keys import Key

HEAD = """\
# Methods

Every method is a value, made by a row of `granet.METHODS`; [adding one](adding-a-method.md) takes three steps. Made
from the docstrings by `python -m docs.make`, as the curves are: a training of 120 steps on noise to 90 % (N:M to 75 %),
with the masks that the method gives. Blue is the sparsity, green what an update has grown. In the formulas w are
weights, g the dense gradient, m the masks, η the learning rate, ΔT `update_interval` and r<sub>t</sub> a cosine from
`drop_fraction` down (in MEST by stairs). In Python a time or an interval is a number of optimizer steps, and None where
the tables say auto; `10ep`, `1000it` and `auto` are what params.yaml takes.
"""


ROWS = {**METHODS, "fixed": METHODS["fixed"]}


def section(name: str, row: Callable[..., Method]) -> str:
    """A method's part of the page."""
    about = inspect.getdoc(row) or ""
    hints = typing.get_type_hints(row, include_extras=True)
    lines = []
    for parameter in inspect.signature(row).parameters.values():
        notes = getattr(hints[parameter.name], "__metadata__", ())
        text = next((note.text for note in notes if isinstance(note, Key)), "")
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        lines.append(f"| `{parameter.name}{default}` | {text.replace('|', chr(92) + '|')} |")
    table = "\n".join(["| parameter | meaning |", "|---|---|", *lines, ""]) if lines else ""
    source = f"granet/methods/{row.__module__.rpartition('.')[2]}.py"
    picture = f"![Sparsity of {name} by step](pictures/method-{name}.svg)"
    formula = re.sub(r"_(\w)", r"<sub>\1</sub>", FORMULAS[name])
    return f"\n## {name}\n{about}\n\n> {formula}\n\n{picture}\n\n{table}\nSource: `{source}`\n"


def page() -> str:
    """docs/methods.md."""
    return HEAD + "".join(section(name, row) for name, row in ROWS.items())
