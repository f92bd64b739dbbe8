"""granet.training.average: beside a loop by hand, through every kind of mask update, and what is saved of it."""

import pytest
import torch

from granet import METHODS
from granet.training import checkpoint
from granet.training.bookkeeping import Bookkeeping
from granet.training.evaluate import evaluate
from granet.training.loop import fit
from tests.helpers.training import GRANET, make_run

SLOW = [pytest.param(name, marks=pytest.mark.soak) for name in ("dense", "snfs", "dpf", "deep_r")]
ROWS = {"deep_r": {"sf": 0.9}, "dense": {}, "imp": {"sf": 0.9, "prune_fraction": 0.7}}


@pytest.mark.parametrize("method", ["granet", "chase", "imp", "str", *SLOW])
def test_the_average_is_that_of_a_loop_by_hand(digits, tmp_path, monkeypatch, method):
    """Three epochs of four steps, masks after every second one; rounds of IMP begin it anew."""
    run = make_run(digits, method=METHODS[method](**ROWS.get(method, GRANET)), ema_decay=0.75)
    by_hand = {name: value.clone() for name, value in run.model.state_dict().items()}
    after_update, keeps = Bookkeeping.after_update, run.sparsifier.method.projection.keeps_values
    shapes = {name: value.shape for name, value in run.model.state_dict().items()}

    def followed(book):
        after_update(book)
        for name, value in run.model.state_dict().items():
            floats = value.is_floating_point() and not run.ends_round_at(book._step)
            by_hand[name] = 0.75 * by_hand[name] + 0.25 * value if floats else value.clone()
        for name, mask in run.sparsifier._held.masks.items():  # with those of BatchNorm's channels, for chase
            if not keeps:
                by_hand[name] *= mask

    monkeypatch.setattr(Bookkeeping, "after_update", followed)
    history = fit(run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")
    state = checkpoint.load(tmp_path / "last.pt")
    assert state is not None
    assert shapes == {name: value.shape for name, value in state["model"].items()}  # no channel is cut out
    for name, value in by_hand.items():
        assert torch.allclose(state["average"][name], value, rtol=1e-5, atol=1e-6), name
    last = run.model.state_dict()
    if not keeps:  # else the forward's weights are baked in
        assert all(torch.equal(last[name], value) for name, value in state["average"].items())
        assert not all(torch.equal(last[name], value) for name, value in state["model"].items())
    for name, mask in run.sparsifier.masks.items():
        assert not last[name][~mask].any(), name
    batches = ((run.data.augment.evaluate(x), labels) for x, labels in run.data.evaluated["test"].epoch(0))
    accuracy = evaluate(run.model, batches, run.forward, run.device)[1]
    assert history[-1]["test_accuracy"] == pytest.approx(accuracy)


def test_training_goes_on_with_the_weights_themselves(digits, tmp_path):
    """Whatever is averaged and evaluated, the checkpoint's weights are those of a run without an average."""
    states = []
    for decay in (None, 0.9):
        folder = tmp_path / str(decay)
        run = make_run(digits, epochs=2, ema_decay=decay)
        fit(run, history_csv=folder / "history.csv", checkpoint_path=folder / "last.pt")
        state = checkpoint.load(folder / "last.pt")
        assert state is not None
        states.append(state)
    assert ["average" in state for state in states] == [False, True]
    assert states[0]["model"].keys() == states[1]["model"].keys() == states[1]["average"].keys()
    for name, value in states[0]["model"].items():
        assert torch.equal(value, states[1]["model"][name]), name
