"""What is accepted gets through: any parameters that validate begin every run, train, and end in a report."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, reject, settings
from safetensors.torch import save_file
from torch import nn

from granet.common.progress import TrainingProgress
from granet.data import open_data
from granet.data.prepared import Data
from granet.maskable import maskable_weights
from granet.training.loop import train_epoch
from granet.training.run import prepare_run
from granet.types import DivergedError
from pipeline.params.schema import Params
from pipeline.report.page import write
from pipeline.report.results import read
from pipeline.training.cell import Cell, cells
from pipeline.training.folder import RunFolder
from pipeline.training.stages import STAGES, Start
from tests.helpers.parameters import any_params, fits
from tests.helpers.runs import write_branches, write_export, write_run


def small_net(seed: int) -> nn.Module:
    """Two convolutions and a classifier, for images of any size."""
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, 8, 3, stride=4), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))


def source(folder: Path) -> RunFolder:
    """A finished run of that network, whose masks are full."""
    model = small_net(0)
    masks = {name: torch.ones_like(w, dtype=torch.bool) for name, w in maskable_weights(model).items()}
    save_file(model.state_dict(), folder / "model.safetensors")
    save_file(masks, folder / "masks.safetensors")
    return RunFolder(folder)


def train_an_epoch(cell: Cell, params: Params, data: Data, before: RunFolder) -> None:
    """The run of a cell, put together as its stage does it, and one epoch of at most two steps."""
    begin = STAGES[cell.stage].start
    if begin is None:
        return
    method = partial(params.method, cell.method or "dense", cell.sparsity or 0.0, len(data.train))
    start = Start(cell.seed, small_net, method, before, cell.rewind, cell.network)
    setup = begin(start)
    config = params.train_config(cell.schedule)
    run = prepare_run(
        cell.name,
        setup.model,
        setup.method,
        data,
        config,
        seed=cell.seed,
        device=torch.device("cpu"),
        rewind_to=setup.rewind_to,
    )
    try:
        with TrainingProgress(cell.name, 1, silent=True) as progress:
            row = train_epoch(run, 0, progress)
    except DivergedError:  # some learning rates are too high; that is said, too
        return
    # a round that is no whole number of epochs begins within one
    assert row["step"] == len(data.train) - run.rounds.first_batch(0)


def results_of(cell: Cell, params: Params, folder: Path) -> None:
    """A finished run of any stage, for the report."""
    if cell.stage == "plasticity":
        write_branches(folder, params, cell, lambda branch: 0.01)
    elif cell.stage == "export":
        write_export(folder, cell)
    else:
        write_run(folder, params, cell, [0.5, 0.6])


@pytest.fixture(scope="module")
def opened(digits: Path) -> Callable[[Params], Data]:
    """The 200 training images of the digits, in batches as the parameters say."""

    def open_(params: Params) -> Data:
        return open_data(
            digits,
            loader="resident",
            batch_size=params.train.batch_size,
            seed=0,
            device="cpu",
        )

    return open_


@pytest.mark.filterwarnings("ignore:step .* is not finite")  # some learning rates are too high
# without shrinking: a smaller example is not worth the minutes that it takes to find
@settings(max_examples=6, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(params=any_params())
def test_what_validates_trains_and_is_reported(opened, params: Params):
    grid = params.grid
    grid.models, grid.seeds, grid.sparsities = grid.models[:1], grid.seeds[:1], grid.sparsities[:2]
    params.data.train_size = 200
    params.train.compile = False  # takes minutes
    if not fits(params):
        reject()
    data = opened(params)
    with TemporaryDirectory() as name:
        folder = Path(name)
        before = source(folder)
        for cell in cells(params):
            train_an_epoch(cell, params, data, before)
            results_of(cell, params, folder / "runs")
        write(read(params, folder / "runs"), folder / "reports")
        assert (folder / "reports/report.html").stat().st_size > 10_000
