"""Draw the pictures of docs/ and write its page of methods.

python -m docs.make
"""

from pathlib import Path

from docs.make.methods import page
from docs.make.pictures import draw
from granet.common.files import atomic

DOCS = Path(__file__).parents[1]


def main() -> None:
    """All that is made from the library itself."""
    draw(DOCS / "pictures")
    atomic(DOCS / "methods.md", page().encode())


if __name__ == "__main__":
    main()
