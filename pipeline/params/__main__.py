"""Write params.yaml, and show what has changed in it.

    python -m pipeline.params recipe=quick [key=value ...]     from a recipe
    python -m pipeline.params key=value ...                    the file that is there, edited

Recipes lie in pipeline/conf/recipe. Every other key is one of params.yaml, e.g. grid.seeds=[0,1,2] granet.si=0.5.
"""

import difflib
import sys

from pipeline import cli
from pipeline.params.files import FILE, compose, load_grid, write


def main(arguments: list[str]) -> None:
    """Write params.yaml, from a recipe or from what it holds, and print the difference to what was there."""
    values, overrides = cli.parse(arguments, ("recipe",), "the params command", overrides=True)
    params = compose([f"recipe={values['recipe']}", *overrides]) if values else load_grid(overrides)
    old = FILE.read_text(errors="replace") if FILE.is_file() else ""
    write(params)
    diff = difflib.unified_diff(
        old.splitlines(), FILE.read_text().splitlines(), "params.yaml (before)", "params.yaml", lineterm=""
    )
    print("\n".join(diff) or "params.yaml: no change")


if __name__ == "__main__":
    cli.run_main(main, __doc__, sys.argv[1:])
