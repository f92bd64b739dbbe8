"""The training loop on a GPU: devices, waits, repetition, resumption, precision, torch.compile."""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from granet import METHODS
from granet.common.progress import TrainingProgress
from granet.data.loaders import sent
from granet.training.device import pick_device
from granet.training.loop import fit, train_epoch
from granet.training.run import Run
from tests.granet.training import test_compile
from tests.helpers.needs import GPU, needs_ffcv, needs_gpus
from tests.helpers.on_device import all_on
from tests.helpers.training import make_run

pytestmark = [pytest.mark.gpu, needs_gpus(1)]


@pytest.fixture
def exact(monkeypatch):
    """Convolutions by algorithms that repeat."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)


def trained(run: Run, folder: Path, **options: Any) -> Run:
    fit(run, history_csv=folder / "history.csv", checkpoint_path=folder / "last.pt", **options)
    return run


def assert_equal(first: Run, second: Run) -> None:
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name
    for name, mask in first.sparsifier.masks.items():
        assert torch.equal(mask, second.sparsifier.masks[name]), name


def test_everything_is_on_the_gpu(digits, tmp_path):
    assert pick_device("auto").type == "cuda"
    run = make_run(digits, device=GPU, epochs=1)
    images, labels = next(run.data.train.epoch(0))
    trained(run, tmp_path)
    state = [
        value for values in run.optimizer.state.values() for value in values.values() if value is not None
    ]
    held = [*run.model.state_dict().values(), *run.sparsifier.masks.values()]
    assert state and all_on(GPU, [images, labels, *held, *state])


class Watched:
    """A loader between whose second batch and the end of the epoch the host may not wait for the GPU."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def __len__(self) -> int:
        return len(self._loader)

    def epoch(self, *arguments: Any) -> Iterator[Any]:
        try:
            for number, batch in enumerate(self._loader.epoch(*arguments)):
                torch.cuda.set_sync_debug_mode("error" if number else "default")
                yield batch
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("method", ["dense", "granet"])
@pytest.mark.parametrize("loader", ["resident", pytest.param("ffcv", marks=needs_ffcv)])
def test_a_plain_step_does_not_wait_for_the_gpu(digits, monkeypatch, method, loader):
    """Masks do not change within this epoch of four steps."""
    row = METHODS[method](**({"sf": 0.9, "si": 0.5, "update_interval": 6} if method == "granet" else {}))
    run = make_run(digits, device=GPU, method=row, loader=loader, precision="auto")
    monkeypatch.setattr(TrainingProgress, "due", lambda progress: False)
    with TrainingProgress("test", 8, silent=True) as progress:
        object.__setattr__(run.data, "train", Watched(run.data.train))
        assert math.isfinite(train_epoch(run, 0, progress)["train_loss"])


def test_batches_of_the_host_are_sent_from_page_locked_memory():
    batch = torch.arange(24).view(2, 2, 2, 3)
    assert torch.equal(sent(batch, GPU).cpu(), batch)


@pytest.mark.usefixtures("exact")
def test_equal_runs_give_equal_weights_and_masks(digits, tmp_path):
    first = trained(make_run(digits, device=GPU), tmp_path / "a")
    assert_equal(first, trained(make_run(digits, device=GPU), tmp_path / "b"))


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("method", ["dense", "granet", "str", "imp"])
def test_replayed_steps_compute_what_launched_ones_do(digits, tmp_path, method):
    """15 steps of full batches, of which three are launched, and some whose masks change; a smaller one each epoch."""
    values = {"sf": 0.9} if method == "imp" else {"sf": 0.9, "update_interval": 5}
    row = METHODS[method](**({} if method == "dense" else values))
    runs = {}
    for graphs in (True, False):
        run = make_run(digits, device=GPU, method=row, epochs=5, precision="bf16", cuda_graphs=graphs)
        runs[graphs] = trained(run, tmp_path / str(graphs))
    replays = runs[True].replays._replays
    assert all(replays[name]._graph is not None for name in ("augment", "step")) and "evaluate" in replays
    assert not runs[False].replays._replays
    assert_equal(runs[True], runs[False])


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("checkpoint_s", [0.0, 300.0])
def test_an_interrupted_run_goes_on_to_the_same_end(digits, tmp_path, checkpoint_s):
    """After its first epoch; with 0 s between checkpoints one is read that was made within an epoch, too."""
    straight = trained(make_run(digits, device=GPU), tmp_path / "a")

    def stop(row):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        trained(make_run(digits, device=GPU, checkpoint_s=checkpoint_s), tmp_path / "b", on_epoch=stop)
    assert_equal(straight, trained(make_run(digits, device=GPU), tmp_path / "b"))


def test_bf16_learns_as_fp32_does(digits, tmp_path):
    losses = {}
    for precision in ("fp32", "bf16"):
        (tmp_path / precision).mkdir()
        run = make_run(digits, device=GPU, precision=precision, lr=0.05)
        rows = fit(
            run, history_csv=tmp_path / precision / "h.csv", checkpoint_path=tmp_path / precision / "last.pt"
        )
        losses[precision] = [row["train_loss"] for row in rows]
        assert all_on(GPU, run.sparsifier.masks.values()) and run.precision == precision
    for exact, rounded in itertools.zip_longest(losses["fp32"], losses["bf16"]):
        assert rounded == pytest.approx(exact, rel=0.15)
    assert losses["bf16"][-1] < losses["bf16"][0]


@pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores")  # torch 2.11 recommends them
def test_compiled_graphs_outlive_mask_updates(digits, tmp_path):
    """Masks change after every second of 8 steps; there is a graph for each size of batch, as on the CPU."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    _, rows = test_compile.trained(digits, tmp_path / "a", compile=False, device=GPU)
    run, compiled = test_compile.trained(digits, tmp_path / "b", compile=True, device=GPU)
    assert counters["stats"]["unique_graphs"] == 5 and not counters["graph_break"]
    assert [row["sparsity"] for row in rows] == [row["sparsity"] for row in compiled]
    assert compiled[-1]["train_loss"] == pytest.approx(rows[-1]["train_loss"], rel=0.02)
    assert all_on(GPU, run.sparsifier.masks.values())
