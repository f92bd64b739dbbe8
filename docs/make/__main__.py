"""Draw the pictures of docs/ and write its pages of methods and of other papers' numbers.

python -m docs.make
"""

from pathlib import Path

from docs.make import comparators, methods
from docs.make.pictures import draw
from granet.common.files import atomic

DOCS = Path(__file__).parents[1]


def main() -> None:
    """All that is made from the library itself, and from the report's data."""
    draw(DOCS / "pictures")
    atomic(DOCS / "methods.md", methods.page().encode())
    atomic(DOCS / "comparators.md", comparators.page().encode())


if __name__ == "__main__":
    main()
