"""Stage code: the code that a run's result depends on, as one digest for each section of params.yaml.

    python -m pipeline.code

Writes code/<section> for every method section, and for data (what `prepare` writes), plasticity and export. The digest
is of the modules that training with the section's method imports, over their syntax trees: comments, docstrings and
formatting, another method, the report and the launcher change none. dvc.yaml's stages depend on these files, and
checkpoints are named by the digests.
"""

import ast
import hashlib
import sys
from functools import cache
from pathlib import Path

from granet.common.files import atomic
from granet.methods import METHODS
from granet.types import UserError
from pipeline.cli import run_main
from pipeline.params.files import load

SOURCE = Path(__file__).parents[1]
"""The folder that holds both packages."""
OUT = Path("code")
TRAINING = (
    "granet.data.prepared",
    "granet.methods.dense",
    "granet.methods.fixed",
    "granet.models",
    "granet.training.loop",
    "granet.training.run",
)
"""What every training run imports; a section's own method comes on top."""
ALONE = ("pipeline.params.sections", "pipeline.training.stages")
"""What else decides a training run's result. Of these only the file counts, and not what it imports."""
TABLE = "granet.methods"
"""Names every method: what it imports is left to those who import the method itself."""
DEPLOY = tuple(
    f"granet.deploy.{name}" for name in ("artefact", "compiled", "latency", "onnx", "packed", "shrink")
)
OTHERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "data": (("granet.data.prepare",), ("pipeline.prepare",)),
    "plasticity": ((*TRAINING, "granet.methods.static", "granet.studies.plasticity"), ALONE),
    "soup": ((*TRAINING, "granet.training.soup"), (*ALONE, "pipeline.soup")),
    "export": ((*DEPLOY, "granet.flops", "granet.models"), ("pipeline.export",)),
}
"""Sections that are no method: their modules, and those of which only the file counts."""


def file_of(module: str) -> Path | None:
    """The file of a module or package of ours; None where there is none.

    >>> file_of("granet.update").name, file_of("granet.data").name, file_of("torch")
    ('update.py', '__init__.py', None)
    """
    path = SOURCE.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.exists()), None)


@cache
def tree_of(module: str) -> ast.Module:
    """A module's syntax tree without what changes nothing: docstrings, and what only type checkers import."""
    file = file_of(module)
    assert file is not None, module
    return _Bare().visit(ast.parse(file.read_text(encoding="utf-8")))


class _Bare(ast.NodeTransformer):
    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else node

    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if ast.unparse(node.test) == "TYPE_CHECKING" else self.generic_visit(node)


@cache
def imports_of(module: str) -> set[str]:
    """The modules of ours that a module imports, also inside its functions."""
    names: set[str] = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {_defining(node.module, alias.name) for alias in node.names}
    return {name for name in names - {TABLE} if file_of(name)}


def _defining(module: str, name: str) -> str:
    """Where ``from module import name`` leads: through packages that only pass a name on, to the module that has it."""
    if file_of(f"{module}.{name}"):
        return f"{module}.{name}"
    for node in tree_of(module).body if file_of(f"{module}.__init__") else ():
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _defining(node.module, alias.name)
    return module


@cache
def digest_of_module(module: str) -> str:
    """16 hexadecimal digits of a module's bare syntax tree, and of the C++ beside it."""
    file = file_of(module)
    assert file is not None, module
    beside = sorted([*file.parent.glob("*.cpp"), *file.parent.glob("*.h")])
    texts = [ast.unparse(tree_of(module)), *(source.read_text(encoding="utf-8") for source in beside)]
    return hashlib.blake2b("\0".join(texts).encode(), digest_size=8).hexdigest()


def modules_of(section: str, method: str | None) -> list[str]:
    """The modules that decide a section's results, by name. ``method``: the section's method; None: it is of OTHERS."""
    roots, alone = ((*TRAINING, METHODS[method].__module__), ALONE) if method else OTHERS[section]
    modules, left = set(), list(roots)
    while left:
        if (module := left.pop()) not in modules:
            modules.add(module)
            left += imports_of(module)
    return sorted({*modules, *alone})


def text_of(section: str, method: str | None) -> str:
    """What code/<section> holds: the digest of the section's code, then each module's own."""
    lines = [f"{module} {digest_of_module(module)}" for module in modules_of(section, method)]
    whole = hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()
    return "\n".join([whole, *lines]) + "\n"


def digest(section: str, method: str | None) -> str:
    """32 hexadecimal digits of the code of a section's results."""
    return text_of(section, method).partition("\n")[0]


def main(arguments: list[str]) -> None:
    """Write the digests of all sections of params.yaml."""
    if arguments:
        raise UserError(f"{arguments[0]!r}: the code stage takes no arguments")
    methods = {section: values["method"] for section, values in load().methods.items()}
    for section, method in {**methods, **dict.fromkeys(OTHERS)}.items():
        atomic(OUT / section, text_of(section, method).encode())
    print(f"code: {len(methods) + len(OTHERS)} digests in {OUT}/")


if __name__ == "__main__":
    run_main(main, __doc__, sys.argv[1:])
