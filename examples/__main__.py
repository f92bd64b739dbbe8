"""Run all examples and write what they printed into docs/examples.md.

python -m examples
"""

import importlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

NAMES = (
    "own_loop",
    "vit_timm",
    "bert_trainer",
    "digits_lightning",
    "amp_accelerate",
    "fine_tune",
    "deploy",
)
PAGE = Path(__file__).parents[1] / "docs/examples.md"
HEAD = """\
# Examples

Each is a file of examples/, runs on a CPU in under a minute, downloads nothing, and is executed by
tests/test_examples.py. In a clone they need `pip install -c constraints.txt '.[pipeline,export,examples]'`, which
`make setup` does; the first one and the last two do without the extra `examples`. What they printed on one CPU core
(numbers differ from machine to machine), as `python -m examples` has written it here:
"""


def output(name: str) -> str:
    """What an example prints. Raises CalledProcessError where it fails."""
    quiet = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-m", f"examples.{name}"]
    return subprocess.run(
        command, cwd=PAGE.parents[1], env=quiet, capture_output=True, text=True, check=True
    ).stdout


def section(name: str, printed: str) -> str:
    """An example's part of the page: the first sentences of its docstring, the command, and what it prints."""
    about = re.split(r"\n\n *python -m", importlib.import_module(f"examples.{name}").__doc__ or "")[0]
    return f"\n## {name}\n{about}\n\n```bash\npython -m examples.{name}\n```\n\n```text\n{printed}```\n"


def main() -> None:
    """Say how long each took, and write the page."""
    text = HEAD
    for name in NAMES:
        begin = time.perf_counter()
        text += section(name, output(name))
        print(f"{name}: {time.perf_counter() - begin:.0f} s", flush=True)
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
