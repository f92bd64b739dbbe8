"""train.kernels: the same training by the active weights alone, but for rounding."""

from contextlib import contextmanager

import pytest
import torch
from torch import nn

from granet import METHODS, UserError
from granet.data import open_data
from granet.kernels import why_not
from granet.training import arithmetic
from granet.training.config import TrainConfig
from granet.training.loop import fit
from granet.training.run import prepare_run
from tests.helpers.training import CPU, make_run

pytestmark = pytest.mark.skipif(why_not() is not None, reason=f"no sparse kernels: {why_not()}")


def granet(tf: int, update_interval: int = 2):
    return METHODS["granet"](si=0.5, sf=0.95, update_interval=update_interval, tf=tf)


def smooth_run(digits, **values):
    """With softplus: where a ReLU's input is 0 but for rounding, a whole gradient passes or not, and runs part."""
    data = open_data(digits, loader="resident", batch_size=64, seed=0, device=CPU)
    torch.manual_seed(0)
    sizes = ((3, 16, 1), (16, 16, 1), (16, 32, 2), (32, 32, 2))
    layers = [(nn.Conv2d(i, o, 3, s, 1, bias=False), nn.BatchNorm2d(o), nn.Softplus()) for i, o, s in sizes]
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    model = nn.Sequential(*(layer for block in layers for layer in block), *head)
    config = TrainConfig(epochs=50, batch_size=64, lr=0.05, precision="fp32", **values)
    return prepare_run("test", model, granet(140, 20), data, config, seed=0, device=CPU)


def trained(run, folder):
    """Its rows, and its masks after every update."""
    folder.mkdir()
    seen = []
    update = run.sparsifier._update

    def spy():
        update()
        seen.append({name: mask.clone() for name, mask in run.sparsifier.masks.items()})

    run.sparsifier._update = spy
    return fit(run, history_csv=folder / "history.csv", checkpoint_path=folder / "last.pt"), seen


@contextmanager
def plain_arithmetic():
    """torch's convolutions without oneDNN, whose fast forms round more coarsely than sums of products do."""
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(True)


def test_200_steps_have_the_masks_and_losses_of_dense_arithmetic(digits, tmp_path):
    with plain_arithmetic():
        dense, masks = trained(smooth_run(digits), tmp_path / "dense")
    run = smooth_run(digits, kernels="sparse")
    sparse, sparse_masks = trained(run, tmp_path / "sparse")
    assert run.arithmetic == "sparse"
    assert run.sparsifier.step == 200
    assert len(masks) == len(sparse_masks) == 10
    different = [
        sum(int((a[name] != b[name]).sum()) for name in a) for a, b in zip(masks, sparse_masks, strict=True)
    ]
    print("\nweights that differ, by update:", different)
    assert max(different) <= 4  # ties that rounding may decide, of 17,000 weights
    for a, b in zip(dense, sparse, strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-3)
        assert (a["sparsity"], a["train_flops"]) == (b["sparsity"], b["train_flops"])
    assert dense[-1]["test_accuracy"] == pytest.approx(
        sparse[-1]["test_accuracy"], abs=0.011
    )  # an image of 100


def test_auto_is_dense_until_the_masks_are_thin_enough(digits, tmp_path, monkeypatch):
    method = granet(8)
    monkeypatch.setitem(arithmetic.PAYS_BELOW, "fp32", 0.0)
    never, dense = make_run(digits, method=method, kernels="auto"), make_run(digits, method=method)
    trained(never, tmp_path / "never")
    trained(dense, tmp_path / "dense")
    assert never.arithmetic == "sparse below 0% of the dense FLOPs"
    assert all(a.equal(b) for a, b in zip(never.model.parameters(), dense.model.parameters(), strict=True))

    monkeypatch.setitem(arithmetic.PAYS_BELOW, "fp32", 0.3)
    below, sparse = [], []
    forward = torch.ops.granet.sparse_forward
    monkeypatch.setattr(
        torch.ops.granet, "sparse_forward", lambda *values: sparse.append(1) or forward(*values)
    )
    run = make_run(digits, method=method, kernels="auto")
    after_step = run.sparsifier.after_step

    def spy():
        below.append((bool(sparse), run.inference_flops < 0.3 * run.dense.total))
        sparse.clear()
        after_step()

    run.sparsifier.after_step = spy
    fit(run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")
    assert [a for a, _ in below] == [b for _, b in below]
    assert {a for a, _ in below} == {True, False}


def test_an_interrupted_run_goes_on_to_the_same_end(digits, tmp_path):
    method = granet(8)
    straight = make_run(digits, method=method, kernels="auto", epochs=4)
    trained(straight, tmp_path / "a")
    first = make_run(digits, method=method, kernels="auto", epochs=4)

    class StopError(Exception):
        pass

    def stop(row):
        if row["epoch"] == 2:
            raise StopError

    paths = {"history_csv": tmp_path / "history.csv", "checkpoint_path": tmp_path / "last.pt"}
    with pytest.raises(StopError):
        fit(first, **paths, on_epoch=stop)
    second = make_run(digits, method=method, kernels="auto", epochs=4)
    fit(second, **paths)
    for a, b in zip(straight.model.state_dict().values(), second.model.state_dict().values(), strict=True):
        assert a.equal(b)


@pytest.mark.parametrize("name", ["gmp", "rigl", "set", "snfs", "static", "deep_r", "dsr", "chase"])
def test_methods_of_all_kinds_train_on_the_kernels(digits, tmp_path, name):
    interval = {} if name == "static" else {"update_interval": 2}
    method = METHODS[name](sf=0.9, **interval)
    run = make_run(digits, method=method, kernels="sparse", epochs=2)
    trained(run, tmp_path / "a")
    assert run.arithmetic == "sparse"
    for weight, mask in run.sparsifier.masks.items():
        assert not run.model.get_parameter(weight)[~mask].any()


def test_what_cannot_be_is_said(digits, monkeypatch):
    masked = METHODS["gmp_original"](sf=0.9, update_interval=2)
    with pytest.raises(
        UserError, match=r"train.kernels=sparse cannot be: this method masks in the forward.*kernels: dense"
    ):
        make_run(digits, method=masked, kernels="sparse")
    assert make_run(digits, method=masked, kernels="auto").arithmetic.startswith("dense: this method masks")
    monkeypatch.setattr(arithmetic.kernels, "why_not", lambda: "there is no C++ compiler")
    with pytest.raises(UserError, match=r"train.kernels=sparse cannot be: there is no C\+\+ compiler; write"):
        make_run(digits, kernels="sparse")
    assert make_run(digits, kernels="auto").arithmetic == "dense: there is no C++ compiler"
    assert make_run(digits, method=METHODS["dense"](), kernels="auto").arithmetic == "dense"
