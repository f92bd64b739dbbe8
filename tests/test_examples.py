"""examples/: each runs as its page says, and prints what stands there but for the numbers."""

import re
from pathlib import Path

import pytest

from examples.__main__ import HEAD, NAMES, PAGE, output

ROOT = Path(__file__).parents[1]


def words(text: str) -> str:
    """A text without its numbers and the spaces that align them."""
    return re.sub(r"\s+", " ", re.sub(r"[\d.,]+", "N", text))


def printed(name: str) -> str:
    """What the page says that an example prints."""
    found = re.search(rf"## {name}\n.*?```text\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("name", NAMES)
def test_an_example_prints_what_stands_on_its_page(name):
    text = output(name)
    assert words(text) == words(printed(name))
    assert "False" not in text  # what should be the same is


def test_the_page_has_every_example():
    files = {path.stem for path in (ROOT / "examples").glob("[!_]*.py")}
    assert files == set(NAMES)
    assert PAGE.read_text().startswith(HEAD)


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("own_loop", 85),
        ("vit_timm", 50),
        ("bert_trainer", 55),
        ("digits_lightning", 75),
        ("amp_accelerate", 75),
    ],
)
def test_what_the_page_shows_has_learned_something(name, least):
    shares = re.findall(r"([\d.]+)%(?: of the test digits)? right|right: ([\d.]+)%", printed(name))
    assert shares and all(float(a or b) > least for a, b in shares)
