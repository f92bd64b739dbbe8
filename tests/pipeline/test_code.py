"""pipeline.code: what changes the digest of a section's code, and what does not. In a copy of the sources."""

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from granet import METHODS
from pipeline import code
from tests.helpers.project import ROOT

SECTIONS = {**{name: name for name in METHODS}, **dict.fromkeys(code.OTHERS)}


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of both packages, which the digests are made of."""
    for package in ("granet", "pipeline"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "SOURCE", tmp_path)
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    for function in (code.tree_of, code.imports_of, code.digest_of_module):
        function.cache_clear()


def digests() -> dict[str, str]:
    forget()
    return {section: code.digest(section, method) for section, method in SECTIONS.items()}


def changed(before: dict[str, str]) -> set[str]:
    after = digests()
    return {section for section in SECTIONS if before[section] != after[section]}


def append(path: Path, text: str) -> None:
    path.write_text(f"{path.read_text()}\n{text}\n")


@pytest.mark.parametrize(
    "file", ["update.py", "sparsifier/sparsifier.py", "methods/granet.py", "training/loop.py"]
)
def test_comments_docstrings_and_formatting_change_nothing(source, file):
    before, path = digests(), source / "granet" / file
    tree = ast.parse(path.read_text())
    tree.body[0] = ast.Expr(ast.Constant("Another docstring."))
    path.write_text(
        f"# a comment\n\n\n{ast.unparse(tree)}"
    )  # which drops all comments and breaks lines elsewhere
    assert changed(before) == set()


def test_a_changed_line_of_the_update_changes_every_training_and_not_the_data(source):
    before, path = digests(), source / "granet/update.py"
    text = path.read_text()
    path.write_text(text.replace("1e-9", "1e-8"))
    assert path.read_text() != text
    assert changed(before) == {*METHODS, "plasticity", "soup"}


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("methods/granet.py", {"granet"}),
        ("methods/snip.py", {"snip"}),
        ("inits/sis.py", {"sis"}),
        ("data/prepare.py", {"data"}),
        ("deploy/onnx.py", {"export"}),
        ("studies/plasticity.py", {"plasticity"}),
        ("methods/__init__.py", set()),
    ],
)
def test_a_module_changes_the_sections_that_import_it(source, file, expected):
    before = digests()
    append(source / "granet" / file, "ANOTHER_VALUE = 1")
    assert changed(before) == expected


@pytest.mark.parametrize(
    "file", ["report/page.py", "launch/plan.py", "tracking/client.py", "params/checks.py"]
)
def test_report_launcher_tracking_and_checks_change_nothing(source, file):
    before = digests()
    append(source / "pipeline" / file, "ANOTHER_VALUE = 1")
    assert changed(before) == set()


def test_a_new_method_leaves_the_others_alone(source):
    before = digests()
    (source / "granet/methods/another.py").write_text(
        '"""Another method."""\n\n\ndef another():\n    return 1\n'
    )
    append(source / "granet/methods/__init__.py", "from granet.methods.another import another")
    assert changed(before) == set()


@pytest.mark.parametrize("file", ["pipeline/training/stages.py", "pipeline/params/sections.py"])
def test_what_the_stages_and_sections_mean_is_part_of_every_training(source, file):
    before = digests()
    append(source / file, "ANOTHER_VALUE = 1")
    assert changed(before) == {*METHODS, "plasticity", "soup"}


def test_all_that_the_training_process_imports_of_granet_counts():
    """But for what cannot change a weight: see the reasons."""
    reasons = {
        "granet.methods": "the table of all methods; a section's own counts",
        "granet.common.keys": "declares and checks",
        "granet": "passes names on",
        "granet.common.files": "writes what it is told",
        "granet.common.processor": "names the machine",
        "granet.training.soup": "a section's own counts",
    }
    imports = set().union(
        *(code.imports_of(f"pipeline.training.{name}") for name in ("run", "stages", "folder", "origin"))
    )
    ours = {module for module in imports if module.startswith("granet")} - set(reasons)
    assert ours <= set(code.modules_of("plasticity", None))


def test_a_method_is_reached_from_its_own_section_alone():
    for name, method in METHODS.items():
        others = {other.__module__ for other in METHODS.values()} - {method.__module__}
        shared = {"granet.methods.dense", "granet.methods.fixed"}
        assert others & set(code.modules_of(name, name)) <= shared, name
