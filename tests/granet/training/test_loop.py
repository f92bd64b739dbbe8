"""granet.training.loop: runs repeat and resume bit for bit, and every row says what it must."""

import csv
import math
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from granet import METHODS, UserError
from granet.common import signals
from granet.flops import training_flops
from granet.masks import empty_layers
from granet.methods import fixed
from granet.training import checkpoint
from granet.training.bookkeeping import Bookkeeping
from granet.training.evaluate import evaluate
from granet.training.history import TIME_COLUMNS
from granet.training.loop import fit
from granet.training.run import Run
from tests.helpers.training import GRANET, make_run


def rows(path: Path) -> list[dict[str, str]]:
    """history.csv without its time columns."""
    with path.open() as file:
        return [{k: v for k, v in row.items() if k not in TIME_COLUMNS} for row in csv.DictReader(file)]


def same_weights(a: Run, b: Run) -> bool:
    return all(torch.equal(value, b.model.state_dict()[key]) for key, value in a.model.state_dict().items())


@pytest.fixture(scope="module")
def straight(digits, tmp_path_factory):
    """The reference: resident loader, uninterrupted."""
    folder = tmp_path_factory.mktemp("straight")
    run = make_run(digits)
    fit(run, history_csv=folder / "history.csv", checkpoint_path=folder / "last.pt")
    return run, rows(folder / "history.csv")


@pytest.mark.parametrize(
    "options",
    [
        {"loader": "resident"},
        {"loader": "auto"},
        {"loader": "ffcv", "num_workers": 1},
        {"loader": "ffcv", "num_workers": 2},
    ],
    ids=str,
)
def test_equal_configurations_give_identical_histories_and_weights(digits, straight, tmp_path, options):
    run = make_run(digits, **options)
    fit(run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")
    assert rows(tmp_path / "history.csv") == straight[1]
    assert same_weights(run, straight[0])


def test_another_seed_gives_another_history(digits, straight, tmp_path):
    run = make_run(digits, seed=1)
    fit(run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")
    assert rows(tmp_path / "history.csv") != straight[1]


class StopError(Exception):
    """Stands for Ctrl-C at an inconvenient moment."""


@pytest.mark.parametrize("epochs_done", [1, 2])
@pytest.mark.parametrize("method", ["granet", "dense", "set", "dsr", "snfs", "str", "dpf", "imp"])
def test_an_interrupted_run_goes_on_to_a_bit_identical_end(digits, tmp_path, epochs_done, method):
    values = {"dense": {}, "imp": {"sf": 0.9, "prune_fraction": 0.7}}.get(method, GRANET)

    def make():
        return METHODS[method](**values)

    whole = make_run(digits, method=make())
    fit(whole, history_csv=tmp_path / "whole.csv", checkpoint_path=tmp_path / "whole.pt")

    def interrupt(row):
        if row["epoch"] == epochs_done:
            raise StopError

    paths = {"history_csv": tmp_path / "history.csv", "checkpoint_path": tmp_path / "last.pt"}
    with pytest.raises(StopError):
        fit(make_run(digits, method=make()), on_epoch=interrupt, **paths)
    resumed = make_run(digits, method=make())
    seen = []
    fit(resumed, on_epoch=lambda row: seen.append(row["epoch"]), **paths)
    assert seen == list(range(1, whole.epochs + 1))
    assert rows(tmp_path / "history.csv") == rows(tmp_path / "whole.csv")
    assert not any("parametrizations" in name for name in resumed.model.state_dict())
    assert same_weights(resumed, whole)


def steps_of(run):
    return run.epochs * len(run.data.train)


RESUMED = [("granet", "resident", step) for step in (1, 3, 4, 11, 12)] + [("granet", "ffcv", 6)]
RESUMED += [("str", "resident", 5)]  # whose weights are fewer after every step, and counted after an update
RESUMED += [("imp", "resident", 12)]  # where a round ends, its row is of the network before the update
RESUMED += [("chase", "resident", 6)]  # channels are cut out of all tensors
RESUMED += [(name, "resident", 6) for name in ("dense", "set", "dsr", "snfs", "str", "dpf", "imp", "deep_r")]


@pytest.mark.parametrize(("method", "loader", "step"), RESUMED)
def test_a_run_goes_on_within_an_epoch_to_a_bit_identical_end(
    digits, tmp_path, monkeypatch, method, loader, step
):
    """Killed after any step: the checkpoint of the step before has the place in the epoch, its sums and its dice."""
    values = {"dense": {}, "deep_r": {"sf": 0.9}, "imp": {"sf": 0.9, "prune_fraction": 0.7}}.get(
        method, GRANET
    )

    def make():
        return make_run(digits, method=METHODS[method](**values), loader=loader, checkpoint_s=0)

    whole = make()
    fit(whole, history_csv=tmp_path / "whole.csv", checkpoint_path=tmp_path / "whole.pt")
    after_update = Bookkeeping.after_update

    def killed(book):
        after_update(book)
        if book._step == step:
            raise StopError

    paths = {"history_csv": tmp_path / "history.csv", "checkpoint_path": tmp_path / "last.pt"}
    with monkeypatch.context() as patch, pytest.raises(StopError):
        patch.setattr(Bookkeeping, "after_update", killed)
        fit(make(), **paths)
    resumed = make()
    steps = []
    with monkeypatch.context() as patch:
        patch.setattr(
            Bookkeeping, "after_update", lambda book: (steps.append(book._step), after_update(book))
        )
        fit(resumed, **paths)
    assert steps == list(range(step + 1, steps_of(whole) + 1))
    assert rows(tmp_path / "history.csv") == rows(tmp_path / "whole.csv")
    assert same_weights(resumed, whole)


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_a_signal_writes_the_state_and_ends_the_run_after_its_step(digits, tmp_path, monkeypatch, number):
    whole = make_run(digits)
    fit(whole, history_csv=tmp_path / "whole.csv", checkpoint_path=tmp_path / "whole.pt")
    before_update = Bookkeeping.before_update

    def interrupted(book, *arguments):
        before_update(book, *arguments)
        if book._step == 6:
            os.kill(os.getpid(), number)

    paths = {"history_csv": tmp_path / "history.csv", "checkpoint_path": tmp_path / "last.pt"}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt), signals.requests():
        patch.setattr(Bookkeeping, "before_update", interrupted)
        fit(make_run(digits), **paths)
    assert not signals.asked()
    state = checkpoint.load(tmp_path / "last.pt")
    assert state is not None and state["within"]["batches"] == 2
    resumed = make_run(digits)
    fit(resumed, **paths)
    assert rows(tmp_path / "history.csv") == rows(tmp_path / "whole.csv")
    assert same_weights(resumed, whole)


def test_a_second_signal_and_one_that_no_step_follows_end_the_program(monkeypatch):
    monkeypatch.setattr(signals, "GRACE_S", 0.2)
    with pytest.raises(KeyboardInterrupt), signals.requests():
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.asked()
        os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), signals.requests():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert not signals.asked()


def test_what_a_request_is_followed_by_takes_the_time_that_it_takes(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(signals, "GRACE_S", 0.5)
    check_state = Bookkeeping._check_state

    def slow(book):
        if signals.asked():
            time.sleep(1)
        check_state(book)

    before_update = Bookkeeping.before_update

    def interrupted(book, *arguments):
        before_update(book, *arguments)
        if book._step == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Bookkeeping, "before_update", interrupted)
    monkeypatch.setattr(Bookkeeping, "_check_state", slow)
    with pytest.raises(KeyboardInterrupt), signals.requests():
        fit(make_run(digits), history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")
    state = checkpoint.load(tmp_path / "last.pt")
    assert state is not None and state["within"]["batches"] == 2


@pytest.mark.parametrize(("damaged", "first"), [(["last.pt"], 2), (["last.pt", "before-last.pt"], 1)])
def test_a_damaged_checkpoint_costs_the_epochs_since_the_one_before(digits, tmp_path, capsys, damaged, first):
    whole = make_run(digits)
    fit(whole, history_csv=tmp_path / "whole.csv", checkpoint_path=tmp_path / "whole.pt")

    def interrupt(row):
        if row["epoch"] == 2:
            raise StopError

    paths = {"history_csv": tmp_path / "history.csv", "checkpoint_path": tmp_path / "last.pt"}
    with pytest.raises(StopError):
        fit(make_run(digits), on_epoch=interrupt, **paths)
    for name in damaged:
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:5000])
    capsys.readouterr()
    resumed = make_run(digits)
    fit(resumed, **paths)
    assert rows(tmp_path / "history.csv") == rows(tmp_path / "whole.csv")
    assert same_weights(resumed, whole)
    said = capsys.readouterr().out
    assert said.count(" is damaged: ") == len(damaged)
    assert ("goes on after epoch 1 of" in said) == (first == 2)


def test_extended_training_stretches_all_but_the_update_interval(digits, tmp_path):
    run = make_run(digits, epochs=2, extend=1.5)  # 3 epochs of 4 steps
    history = fit(run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert [round(run.lr(step), 4) for step in (5, 6, 8, 9)] == [0.1, 0.01, 0.01, 0.001]
    assert run.sparsifier.last_pruning_step == 8  # 0.6875 * 12 = 8.25
    assert [step for step in range(1, 13) if run.sparsifier.updates_at(step)] == [2, 4, 6, 8, 10, 12]
    # ratios refer to a dense run that is not extended
    assert run.dense_train_flops == 2 * 200 * 3 * run.dense.total


def test_a_method_with_rounds_restarts_the_schedule_and_the_weights(digits, tmp_path):
    run = make_run(digits, method=METHODS["imp"](sf=0.9, prune_fraction=0.7), epochs=2)
    initial = {name: value.clone() for name, value in run.model.state_dict().items()}
    sparsities, weights = [], {}

    def on_epoch(row):
        sparsities.append(round(row["sparsity"], 3))
        weights[row["epoch"]] = {name: value.clone() for name, value in run.model.state_dict().items()}

    history = fit(
        run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt", on_epoch=on_epoch
    )
    assert [round(row["lr"], 4) for row in history] == [0.1, 0.001, 0.1, 0.001]
    assert sparsities == [
        0.684,
        0.684,
        0.9,
        0.9,
    ]  # 1 - 0.1^(1/2); the update comes after the round's last row
    for name, value in weights[2].items():  # the second round's start
        mask = run.sparsifier.masks.get(name)
        assert torch.equal(value, initial[name] if mask is None else initial[name] * mask), name
    # the dense training that was pruned is paid for too
    assert history[0]["train_flops"] > run.dense_train_flops == run.flops_before


@pytest.mark.parametrize("rewind", ["weights", "lr"])
def test_a_rounds_last_row_is_of_the_network_that_the_round_has_trained(digits, tmp_path, rewind):
    """Rounds of 2 epochs are 8 steps. One round alone trains the same network, and its weights stay to be looked at."""
    values = {"sf": 0.9, "prune_fraction": 0.7, "rewind": rewind}
    run = make_run(digits, method=METHODS["imp"](**values), epochs=2)
    first_masks = {name: mask.clone() for name, mask in run.sparsifier.masks.items()}
    history = fit(run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")
    alone = make_run(digits, method=fixed(first_masks), epochs=2)
    fit(alone, history_csv=tmp_path / "alone.csv", checkpoint_path=tmp_path / "alone.pt")
    for split, loader in alone.data.evaluated.items():
        batches = ((alone.data.augment.evaluate(images), labels) for images, labels in loader.epoch(0))
        trained = evaluate(alone.model, batches, alone.forward, alone.device)
        assert (history[1][f"{split}_loss"], history[1][f"{split}_accuracy"]) == trained
    assert history[1]["sparsity"] == alone.sparsifier.sparsity == pytest.approx(0.684, abs=1e-3)
    assert history[1]["inference_flops"] == alone.inference_flops > history[2]["inference_flops"]
    assert (history[1]["step"], history[2]["step"]) == (8, 12)
    assert run.first_final_epoch == 3  # what the second round trains has the final sparsity


def test_history_has_a_row_per_epoch_with_all_that_is_reported(straight):
    run, history = straight
    assert [row["epoch"] for row in history] == ["1", "2", "3"]
    assert [row["step"] for row in history] == ["4", "8", "12"]
    assert {"lr", "train_loss", "train_accuracy", "val_accuracy", "test_accuracy", "test_loss"} <= set(
        history[0]
    )
    # lr drops at half (step 6) and three quarters (step 9) of 12 steps; the row shows the epoch's last step
    assert [round(float(row["lr"]), 4) for row in history] == [0.1, 0.01, 0.001]
    assert float(history[-1]["sparsity"]) == run.sparsifier.sparsity == pytest.approx(0.9, abs=1e-4)


def test_layers_without_a_connection_are_counted_epoch_by_epoch(digits, tmp_path):
    masks = {name: torch.ones_like(mask) for name, mask in make_run(digits).sparsifier.masks.items()}
    masks["layer2.0.conv1.weight"].zero_()
    run = make_run(digits, method=fixed(masks), epochs=2)
    history = fit(run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")
    assert [row["empty_layers"] for row in history] == [1, 1]
    assert empty_layers(run.sparsifier.layer_sparsity) == ["layer2.0.conv1.weight"]


def test_every_second_step_of_rigl_pays_for_its_dense_gradient(digits, tmp_path):
    run = make_run(digits, method=METHODS["rigl"](**GRANET), epochs=2)
    history = fit(run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")
    sparse = run.dense.at(run.sparsifier.layer_sparsity).total  # RigL keeps every layer's sparsity
    epoch = [(64, sparse, False), (64, sparse, True), (64, sparse, False), (8, sparse, True)]
    assert [row["train_flops"] for row in history] == [
        training_flops(epoch, run.dense.total),
        training_flops(2 * epoch, run.dense.total),
    ]


def test_gradual_pruning_pays_for_the_sparsity_it_has(digits, tmp_path):
    run = make_run(digits, method=METHODS["gmp"](sf=0.9, update_interval=4, tf=4), epochs=2)
    history = fit(run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")
    final = run.dense.at(run.sparsifier.layer_sparsity).total  # pruned once, after the 4th step
    expected = [(200, run.dense.total, False), (200, final, False)]
    assert history[-1]["train_flops"] == training_flops(expected, run.dense.total)


def test_dense_training_costs_what_it_should(digits, tmp_path):
    run = make_run(digits, method=METHODS["dense"](), epochs=2)
    history = fit(run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")
    assert history[-1]["train_flops"] == run.dense_train_flops
    assert history[-1]["inference_flops"] == run.dense.total
    assert run.first_final_epoch == 1


def test_static_masks_cost_their_share_of_every_step(digits, tmp_path):
    run = make_run(digits, method=METHODS["static"](sf=0.5), epochs=1)
    history = fit(run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")
    assert history[0]["train_flops"] == 3 * 200 * run.dense.at(run.sparsifier.layer_sparsity).total


def test_final_sparsity_is_reached_in_the_epoch_the_summary_names(digits):
    assert make_run(digits).first_final_epoch == 2  # step 8 of 4 steps an epoch


def test_a_loss_that_is_not_finite_stops_the_run_with_one_line(digits, tmp_path):
    run = make_run(digits, lr=1e30)
    with pytest.raises(UserError, match=r"training loss is (nan|inf) in epoch 1 .*lower train\.lr") as error:
        fit(run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "last.pt").exists()


def test_a_fixed_mask_is_kept_through_training(digits, tmp_path):
    masks = make_run(digits).sparsifier.masks
    run = make_run(digits, method=fixed(masks), epochs=1)
    fit(run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")
    assert all(torch.equal(mask, masks[name]) for name, mask in run.sparsifier.masks.items())


@pytest.mark.soak
def test_bf16_learns_too(digits, tmp_path):
    run = make_run(digits, precision="bf16", epochs=6)
    history = fit(run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")
    assert history[-1]["train_loss"] < history[0]["train_loss"] < math.inf
