"""granet.training.finite, and what a run leaves that diverges: the state from before, and one line."""

import copy
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from granet import METHODS
from granet.methods import fixed
from granet.training import bookkeeping, checkpoint, finite, loop
from granet.training.finite import Fault, FiniteCheck, measured, not_finite
from granet.training.loop import fit
from granet.types import DivergedError
from tests.helpers.training import CPU, GRANET, make_run

NAN, INF = math.nan, math.inf
CONV = "layer1.0.conv1.weight"


class Check(FiniteCheck):
    """Of a model whose loss is told."""

    def __init__(self, model: nn.Module, *, late: bool) -> None:
        self._model, self._late = model, late
        with self._told():
            super().__init__(model, CPU)

    @contextmanager
    def _told(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(finite, "arrives_late", lambda device: self._late)
            yield

    def loss(self, step: int, loss: float, *, now: bool) -> Fault | None:
        with self._told():
            return self.look(step, measured(self._model, torch.tensor(loss)), now=now)


def checked(*, late: bool = False) -> tuple[nn.Module, Check]:
    """A model with a gradient of ones for two of its parameters, none for the third; late: as on a GPU."""
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1, bias=False))
    for name in ("0.bias", "1.weight"):
        model.get_parameter(name).grad = torch.ones_like(model.get_parameter(name))
    return model, Check(model, late=late)


def spoil(model: nn.Module, name: str, value: float) -> None:
    gradient = model.get_parameter(name).grad
    assert gradient is not None
    gradient[(-1,) * gradient.dim()] = value


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_what_is_not_finite_is_named(late, value):
    model, check = checked(late=late)
    assert check.loss(1, 1.0, now=True) is None
    spoil(model, "1.weight", value)
    assert check.loss(2, 1.0, now=True) == Fault(
        f"the gradient of 1.weight is {'nan' if math.isnan(value) else 'inf'}", 2
    )
    spoil(model, "0.bias", value)  # the first one, in the model's order
    assert check.loss(3, 1.0, now=True).what.startswith("the gradient of 0.bias is")
    assert check.loss(4, value, now=True) == Fault(f"the training loss is {value}", 4)


@pytest.mark.parametrize("late", [False, True])
def test_a_gradient_whose_squares_overflow_is_finite_all_the_same(late):
    model, check = checked(late=late)
    spoil(model, "1.weight", 3e38)
    assert check.loss(1, 3e38, now=True) is None


def test_late_numbers_are_read_a_step_later_or_when_they_are_asked_for():
    model, check = checked(late=True)
    assert check.loss(1, NAN, now=False) is None
    assert check.loss(2, 1.0, now=False) == Fault("the training loss is nan", 1)
    assert check.settle() is None
    spoil(model, "0.bias", INF)
    assert check.loss(3, 1.0, now=False) is None
    assert check.settle() == Fault("the gradient of 0.bias is inf", 3)
    assert check.settle() is None


def test_counts_are_always_finite():
    assert not_finite({"count": torch.tensor(3), "mean": torch.ones(2)}) is None


def poison(monkeypatch, step: int, where: str, value: float) -> None:
    """The loss or one element of a gradient of optimizer step ``step`` of every run that follows."""
    backward = loop.backward

    def poisoned(run, *batch):
        loss, logits = backward(run, *batch)
        if run.sparsifier.step + 1 == step:
            if where == "loss":
                return loss * value, logits
            spoil(run.model, where, value)
        return loss, logits

    monkeypatch.setattr(loop, "backward", poisoned)


def states_by_step(monkeypatch) -> dict[int, dict]:
    """The state of runs after every step, as it is filled."""
    states, after_update = {}, bookkeeping.Bookkeeping.after_update

    def recorded(book):
        states[book._step] = copy.deepcopy(checkpoint.state_of(book._run, []))
        after_update(book)

    monkeypatch.setattr(bookkeeping.Bookkeeping, "after_update", recorded)
    return states


def same(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(value, b[key]) for key, value in a.items())
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


STOPS = [  # 4 steps an epoch, masks updated after every second one
    ("granet", 6, CONV, NAN, False),
    ("granet", 7, CONV, INF, True),
    ("granet", 7, "loss", NAN, False),
    ("str", 8, "fc.bias", -INF, True),
    ("dense", 5, "loss", INF, False),
]


@pytest.mark.parametrize(("method", "step", "where", "value", "late"), STOPS)
def test_a_run_that_diverges_leaves_the_state_of_the_step_before(
    digits, tmp_path, monkeypatch, method, step, where, value, late
):
    monkeypatch.setattr(finite, "arrives_late", lambda device: late)
    states = states_by_step(monkeypatch)
    poison(monkeypatch, step, where, value)

    def diverge() -> str:
        own = {} if method == "dense" else GRANET
        run = make_run(digits, method=METHODS[method](**own), checkpoint_s=0.0)  # kept after every step
        with pytest.raises(DivergedError) as error:
            fit(run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")
        return str(error.value)

    said = diverge()
    what = "the training loss is" if where == "loss" else f"the gradient of {where} is"
    place = "epoch 1" if step == 5 else f"batch {step - 5} of epoch 2"
    assert re.fullmatch(
        rf"test: {what} (nan|inf) in epoch 2 \(step {step}, train\.lr=0\.1, precision fp32\); lower train\.lr; "
        rf"its last checkpoint is {re.escape(str(tmp_path / 'last.pt'))} \({place}, step {step - 1}\)",
        said,
    )
    state = checkpoint.load(tmp_path / "last.pt")
    for part in ("model", "optimizer", "sparsifier"):
        assert same(state[part], states[step - 1][part]), part
    assert late or step not in states  # it was not taken
    assert not_finite(state["model"]) is None
    assert diverge() == said  # the same command goes on from there


def test_on_a_gpu_a_step_too_many_reaches_no_mask_and_no_file(digits, tmp_path, monkeypatch):
    """Of step 7 it is told before step 8, which would update the masks and end the epoch."""
    monkeypatch.setattr(finite, "arrives_late", lambda device: True)
    states = states_by_step(monkeypatch)
    poison(monkeypatch, 7, CONV, NAN)
    run = make_run(digits)
    line = rf"the gradient of {CONV} is nan in epoch 2 \(step 7, .*\(epoch 1, step 4\)"
    with pytest.raises(DivergedError, match=line):
        fit(run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")
    assert max(states) == run.sparsifier.step == 7
    assert not_finite(states[7]["model"]) == CONV
    assert same(states[7]["sparsifier"]["masks"], states[6]["sparsifier"]["masks"])
    assert not_finite(checkpoint.load(tmp_path / "last.pt")["model"]) is None


def test_what_overflows_in_the_last_step_of_an_epoch_is_not_kept(digits, tmp_path, monkeypatch):
    """A running variance of infinity leaves all losses finite."""
    before_update = bookkeeping.Bookkeeping.before_update

    def overflowing(book, *arguments):
        before_update(book, *arguments)
        if book._step == 8:
            book._run.model.get_buffer("layer1.0.bn1.running_var").fill_(INF)

    monkeypatch.setattr(bookkeeping.Bookkeeping, "before_update", overflowing)
    run = make_run(digits)
    line = r"layer1\.0\.bn1\.running_var is not finite in epoch 2 \(step 8, .*\(epoch 1, step 4\)"
    with pytest.raises(DivergedError, match=line):
        fit(run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")


@pytest.mark.parametrize("split", ["val", "test"])
def test_the_loss_of_held_out_images_is_said_by_name(digits, tmp_path, monkeypatch, split):
    results = {"val": (1.0, 0.5), "test": (1.0, 0.5), split: (NAN, 0.1)}
    found = iter([results["val"], results["test"]])
    monkeypatch.setattr(bookkeeping, "evaluate", lambda *arguments: next(found))
    with pytest.raises(
        DivergedError, match=rf"the {split} loss is nan in epoch 1 .*; it has no checkpoint yet"
    ):
        fit(make_run(digits), history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")


def test_the_way_out_names_the_precision_where_it_can_be_raised(digits, tmp_path, monkeypatch):
    poison(monkeypatch, 1, "loss", NAN)
    masks = make_run(digits).sparsifier.masks
    for precision, remedy in (
        ("bf16", "lower train.lr or set train.precision=fp32; "),
        ("fp32", "lower train.lr; "),
    ):
        run = make_run(digits, method=fixed(masks), precision=precision)
        with pytest.raises(
            DivergedError, match=re.escape(f"precision {precision}); {remedy}it has no checkpoint yet")
        ):
            fit(run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")
