"""Ratios on this machine, in turn: what sparsity costs in a step, a mask update, the optimizer, loaders, an epoch, how
long commands take to begin, what cutting filters out gains, and what sparse steps take in memory.

    python -m benchmarks [--pairs N]

Prints a table and writes it to reports/benchmarks.json. Nothing here is compared over machines.
"""

import argparse
import tempfile
from pathlib import Path

import torch

from benchmarks import commands, epochs, jpegs, steps, updates
from benchmarks.pairs import Row, show, write
from benchmarks.shrunk import shrunk


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=9, help="per row; three times as many of what is quick")
    pairs = parser.parse_args().pairs
    torch.manual_seed(0)
    rows: list[Row] = []
    for model_name in ("resnet20", "vgg19"):
        rows += updates.rows(model_name, pairs) + steps.rows(model_name, pairs)
    with tempfile.TemporaryDirectory() as folder:
        for part in (epochs, jpegs, commands):
            (inside := Path(folder, part.__name__)).mkdir()
            rows += part.rows(inside, pairs)
    show(rows)
    others = shrunk("vgg19", 0.5, steps.BATCH) | commands.memory()
    for what, ratio in others.items():
        print(f"{what}: {ratio:.3g}")
    write(Path("reports/benchmarks.json"), rows, others=others)


if __name__ == "__main__":
    main()
