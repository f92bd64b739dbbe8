"""Stage prepare: write one dataset as FFCV files, a .beton per split and an index, to data/prepared/<dataset>.

    python -m pipeline.prepare [dataset=D] [out=DIR] [data.key=value ...]

Raw data is looked for in data.root, or in data/raw where that is null; digits are bundled. The dataset left out is
the first of the grid in params.yaml. With overrides the result goes to scratch/prepared/<dataset>.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

from granet.common.files import made
from granet.data import DATASETS, prepare
from granet.data.root import expanded
from granet.types import UserError
from pipeline.cli import parse, run_main
from pipeline.params.files import load
from pipeline.params.unchanged import check_unchanged
from pipeline.workspace import PREPARED, RAW, own_folder, root


def main(arguments: list[str]) -> None:
    """Prepare one dataset."""
    values, overrides = parse(arguments, ("dataset", "out"), "the prepare stage", overrides=True)
    params = load(overrides)
    dataset = values.get("dataset", params.grid.datasets[0])
    if dataset not in DATASETS:
        raise UserError(f"dataset={dataset!r} is unknown; choose from {', '.join(DATASETS)}")
    raw = root() / expanded(params.data.root or RAW)
    listed = params.data.classes
    classes = None if listed is None else str(root() / expanded(listed, "data.classes"))
    out = Path(values.get("out", (Path("scratch/prepared") if overrides else PREPARED) / dataset))
    with own_folder(root() / ".checkpoints", f"prepare-{dataset}") as parts:
        index = prepare(dataset, made(out), replace(params.data, root=str(raw), classes=classes), parts=parts)
    if not overrides:
        check_unchanged(params, "data")
    print(f"{dataset}: {index['num_images']} images in {out}")


if __name__ == "__main__":
    os.environ.setdefault(
        "NUMBA_DISABLE_JIT", "1"
    )  # FFCV compiles for readers as it is imported, for four seconds
    run_main(main, __doc__, sys.argv[1:])
