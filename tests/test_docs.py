"""docs/: what is made from the code is up to date, Python in it runs, and its commands are those that there are."""

import re
import shlex
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from importlib.util import find_spec
from pathlib import Path

import pytest
from dvc.cli import parse_args

from docs.make.doctests import fenced
from docs.make.formulas import FORMULAS
from docs.make.hooks import on_page_markdown
from docs.make.methods import page
from docs.make.pictures import course
from examples.__main__ import NAMES
from granet import METHODS
from pipeline.params.__main__ import main as params

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "data/README.md", *sorted((ROOT / "docs").glob("*.md"))]
SYSTEM = {"apt-get", "export", "git", "make", "pip", "psql", "python3", "rm", "source", "ssh", "sudo"}
"""Programs of the system, or of a shell; what they are told is not ours."""


def commands() -> list[tuple[str, str]]:
    """(page, command) of every line of every bash block, without comments and variables; `a && b` are two."""
    found = []
    for path in PAGES:
        for block in re.findall(r"^```bash\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE):
            for line in re.sub(r"\\\n\s*", " ", block).splitlines():
                for part in re.sub(r"(^|\s)#.*", "", line).split("&&"):
                    command = re.sub(r"^(\w+=\S+ )+", "", part.strip())
                    if command:
                        found.append((path.name, command))
    return found


COMMANDS = commands()


def test_the_pages_have_commands():
    assert len(COMMANDS) > 60
    assert {page for page, _ in COMMANDS} >= {
        "README.md",
        "pipeline.md",
        "scaling.md",
        "gpu.md",
        "examples.md",
    }


@pytest.mark.parametrize(
    "command", sorted({command for _, command in COMMANDS if "-m pipeline.params " in command})
)
def test_a_recipe_composes_as_it_stands_there(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, text=True, check=True
    ).stdout.split("\0")[:-1]  # as the shell reads it, braces included
    if "rigl_step" in command:
        pytest.skip("test_adding_a_method runs it, with the method that its page adds")
    params(words[words.index("pipeline.params") + 1 :])
    assert (tmp_path / "params.yaml").is_file()


@pytest.mark.parametrize(("where", "command"), COMMANDS)
def test_a_command_is_one_that_there_is(where, command):
    words = shlex.split(command)
    program = words[0].rpartition("/")[2]
    if program == "dvc":
        parse_args(words[1:])
    elif program in ("python", "torchrun"):
        module = words[words.index("-m") + 1]
        arguments = words[words.index("-m") + 2 :]
        assert find_spec(module) is not None, module
        if module.startswith("examples."):
            assert module.partition(".")[2] in NAMES
        check_keys(module, arguments)
    elif program == "mlflow":
        assert words[1] in ("ui", "server")
    elif program == "pytest":
        assert all((ROOT / word).exists() for word in words[1:] if "/" in word)
    elif program == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    else:
        assert program in SYSTEM, f"{where}: {command}"
    for name in re.findall(r"requirements[\w-]*\.txt|constraints\.txt", command):
        assert (ROOT / name).is_file()


def check_keys(module: str, arguments: list[str]) -> None:
    """Every key=value and --option is one that the module's own text, or params.yaml, speaks of."""
    spec = find_spec(module)
    if spec is not None and spec.submodule_search_locations:
        spec = find_spec(f"{module}.__main__")
    assert spec is not None and spec.origin is not None
    beside = Path(spec.origin).with_name("command.py")  # where a package's __main__ imports little
    text = "".join(path.read_text() for path in (Path(spec.origin), beside) if path.exists())
    sections = (ROOT / "params.yaml").read_text()
    for word in arguments:
        key, equals, _ = word.partition("=")
        if word.startswith("--") and word != "--help":
            assert word in text, f"{module} has no {word}"
        elif equals and "." in key and "{" not in key:
            section, _, name = key.partition(".")
            assert re.search(rf"^{section}:(\n+(  .*)?)*?\n  {name}:", sections, re.MULTILINE), key
        elif equals and module != "pipeline.params" and "{" not in key:
            assert re.search(rf"\b{key}\b", text), f"{module} has no {key}="


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_what_a_page_tells_to_install_is_there(path):
    """Also between the lines: files of requirements, and extras of this package."""
    text = path.read_text()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name in re.findall(r"-[rc] ([\w./-]+\.txt)", text):
        assert (ROOT / name).is_file(), name
    for names in re.findall(r"(?:granet|'\.|\"\.)\[([\w,]+)\]", text):
        assert set(names.split(",")) <= extras.keys(), names


LIBRARY = (ROOT / "docs/library.md").read_text()


def rows_with_tests() -> list[tuple[str, str]]:
    """(what it says, its tests) of every row of a table of docs/library.md whose last column is of tests."""
    tables = re.findall(r"^\|.* test \|\n\|[-|]+\n((?:\|.*\n)+)", LIBRARY, re.MULTILINE)
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for table in tables for line in table.splitlines()]
    return [(row[0].strip(), row[-1].strip()) for row in rows]


@pytest.mark.parametrize(("what", "tests"), rows_with_tests())
def test_a_row_of_what_works_names_a_test_that_there_is(what, tests):
    """As ``word: `part_of_its_name` ``, or test_file.py alone; the page says which file a word stands for."""
    files = {path.name: path for path in ROOT.glob("tests/**/test_*.py")}
    words = dict(re.findall(r"`(\w+)`\s+(?:is\s+)?(?:tests/[\w/]+/)?(test_\w+\.py)", LIBRARY))
    assert tests
    for part in re.split(r"; |, (?=\w+:|test_)", tests):
        place, _, names = part.partition(": ")
        text = files[words.get(place, place)].read_text()
        for name in re.findall(r"`(\w+)`", names):
            assert re.search(rf"^def test_\w*{name}", text, re.MULTILINE), f"{place} has no {name}"
        assert names or place.endswith(".py"), part


def test_the_page_of_what_works_has_its_rows():
    assert len(rows_with_tests()) > 50


@pytest.mark.parametrize("name", ["index.md"])
def test_python_that_is_a_whole_program_runs(name):
    code = "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / "docs" / name).read_text(), re.DOTALL))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stderr, done.stdout) == ("", "90% of the weights are zero\n")


def test_the_page_of_methods_is_what_the_table_says():
    assert (ROOT / "docs/methods.md").read_text() == page()  # else: python -m docs.make
    assert FORMULAS.keys() == METHODS.keys() | {"fixed"}


@pytest.mark.parametrize("name", ["mask-update", "schedules", *(f"method-{name}" for name in FORMULAS)])
def test_a_picture_is_there_and_has_nothing_of_this_machine(name):
    text = (ROOT / f"docs/pictures/{name}.svg").read_text()
    assert ET.fromstring(text).tag.endswith("svg")
    assert "<dc:date>" not in text


@pytest.mark.filterwarnings("ignore:.*of the weights stay dense")
@pytest.mark.parametrize(
    ("name", "first", "last", "regrows"),
    [
        ("granet", 0.0, 0.9, True),
        ("rigl", 0.9, 0.9, True),
        ("gmp", 0.0, 0.9, False),
        ("dense", 0.0, 0.0, False),
    ],
)
def test_a_curve_is_a_training_of_its_method(name, first, last, regrows):
    sparsity, new = course(name)
    assert (sparsity[0], sparsity[-1]) == pytest.approx((first, last), abs=2e-3)
    assert any(share > 0 for share in new) == regrows


def test_links_to_files_become_names_and_those_to_nothing_stay():
    assert on_page_markdown("[granet/update.py](../granet/update.py)") == "granet/update.py"
    assert on_page_markdown("[the verbs](../granet/update.py)") == "the verbs (`granet/update.py`)"
    assert on_page_markdown("[x](../granet/nothing.py)") == "[x](../granet/nothing.py)"


def test_a_doctest_is_code_on_the_page_of_the_api():
    text = "Adds.\n\n>>> a = 1\n>>> a + 1\n2\n\nNo more."
    assert fenced(text) == "Adds.\n\n```pycon\n>>> a = 1\n>>> a + 1\n2\n```\n\nNo more."
