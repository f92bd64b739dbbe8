"""granet.training.diagnostics: numbers that can be checked by eye, and a file that a resumed run goes on with."""

import csv
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from granet.training.diagnostics import ALL, COLUMNS, Diagnostics
from granet.training.loop import fit
from tests.helpers.needs import needs_ffcv
from tests.helpers.training import make_run


def bits(*rows: str) -> torch.Tensor:
    return torch.tensor([[mark == "1" for mark in row] for row in rows])


def sparsifier(masks, channels=None):
    """What is asked of a Sparsifier."""
    shares = {name: 1 - mask.float().mean().item() for name, mask in masks.items()}
    every = torch.cat([mask.flatten() for mask in masks.values()]) if masks else torch.ones(1)
    method = SimpleNamespace(channels=channels)
    return SimpleNamespace(
        masks=masks, layer_sparsity=shares, sparsity=1 - every.float().mean().item(), method=method
    )


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def begun(tmp_path, masks, state=None, tell=lambda epoch, row: None):
    follower = Diagnostics(tmp_path / "diagnostics.csv", tell)
    follower.begin(sparsifier(masks), state, writes=True)
    return follower


class NoFloat64(TorchDispatchMode):
    """As Apple's GPUs."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        assert all(one.dtype != torch.float64 for one in tree_leaves(result) if isinstance(one, torch.Tensor))
        return result


def test_a_device_without_float64_will_do(tmp_path):
    masks = {"a": bits("1100", "1100"), "b": bits("11")}
    follower = begun(tmp_path, masks)
    with NoFloat64():
        follower.after_update(masks)
        follower.after_epoch(1, sparsifier(masks))
    assert [row["ever_active"] for row in rows_of(tmp_path / "diagnostics.csv")] == ["0.5", "1", "0.6"]


def test_the_numbers_of_two_small_layers(tmp_path):
    masks, told = {"a": bits("1100", "1100"), "b": bits("11")}, []
    follower = begun(tmp_path, masks, tell=lambda epoch, row: told.append((epoch, row)))
    for a in (bits("1100", "0010"), bits("1001", "0000")):
        masks["a"].copy_(a)
        follower.after_update(masks)
    follower.after_epoch(1, sparsifier(masks))
    a, b, network = rows_of(tmp_path / "diagnostics.csv")
    assert tuple(a) == COLUMNS
    assert (a["epoch"], a["layer"], float(a["sparsity"])) == ("1", "a", 0.75)
    assert float(a["ever_active"]) == 6 / 8  # four at first, then one in the second row and one in the first
    assert float(a["overlap_initial"]) == pytest.approx(1 / 5)
    assert (a["dead_channels"], a["overlap_updates"]) == ("1", "")
    assert (b["ever_active"], b["overlap_initial"], b["dead_channels"]) == ("1", "1", "0")
    assert network["layer"] == ALL
    assert float(network["ever_active"]) == 8 / 10
    assert float(network["overlap_initial"]) == pytest.approx(3 / 7, rel=1e-5)
    assert float(network["overlap_updates"]) == pytest.approx((4 / 7 + 3 / 6) / 2, rel=1e-5)
    ((epoch, row),) = told
    assert epoch == 1 and row["dead_channels"] == 1 and set(row) == set(COLUMNS[2:])


def test_an_epoch_without_an_update_has_no_overlap_of_updates(tmp_path):
    follower = begun(tmp_path, {"a": bits("10")})
    follower.after_epoch(1, sparsifier({"a": bits("10")}))
    assert [row["overlap_updates"] for row in rows_of(tmp_path / "diagnostics.csv")] == ["", ""]


@pytest.mark.parametrize("masks, channels", [({}, None), ({"a": bits("10")}, object())])
def test_dense_runs_and_those_that_cut_channels_have_a_header_alone(tmp_path, masks, channels):
    follower = Diagnostics(tmp_path / "diagnostics.csv")
    follower.begin(sparsifier(masks, channels), None, writes=True)
    follower.after_update(masks)
    follower.after_epoch(1, sparsifier(masks, channels))
    assert (tmp_path / "diagnostics.csv").read_text() == ",".join(COLUMNS) + "\n"


def test_a_process_that_does_not_write_costs_nothing(tmp_path):
    follower = Diagnostics(tmp_path / "diagnostics.csv")
    follower.begin(sparsifier({"a": bits("10")}), None, writes=False)
    follower.after_update({"a": bits("10")})
    follower.after_epoch(1, sparsifier({"a": bits("10")}))
    assert list(tmp_path.iterdir()) == []


def test_a_state_goes_on_in_the_middle_of_an_epoch(tmp_path):
    whole, part = tmp_path / "whole", tmp_path / "part"
    for folder in (whole, part):
        masks = {"a": bits("1100", "1100")}
        follower = begun(folder, masks)
        for epoch, a in enumerate(
            (bits("1010", "1100"), bits("0011", "0011"), bits("1001", "0000")), start=1
        ):
            masks["a"].copy_(a)
            follower.after_update(masks)
            if folder is part:
                follower = begun(folder, {"a": a.clone()}, state=follower.state_dict())
            if epoch != 2:
                follower.after_epoch(epoch, sparsifier(masks))
    assert (whole / "diagnostics.csv").read_bytes() == (part / "diagnostics.csv").read_bytes()


@needs_ffcv
def test_a_run_that_was_interrupted_ends_with_the_same_file(digits, tmp_path):
    def diagnosed(name: str, epochs: int) -> bytes:
        run = make_run(digits)
        folder = tmp_path / name

        def stop(row):
            if row["epoch"] == epochs < 3:
                raise KeyboardInterrupt

        follower = Diagnostics(folder / "diagnostics.csv")
        paths = {"history_csv": folder / "history.csv", "checkpoint_path": folder / "last.pt"}
        fit(run, **paths, on_epoch=stop, diagnostics=follower)
        return (folder / "diagnostics.csv").read_bytes()

    with pytest.raises(KeyboardInterrupt):
        diagnosed("parts", 1)
    (tmp_path / "parts/diagnostics.csv").unlink()  # as DVC does
    assert diagnosed("parts", 3) == diagnosed("whole", 3)
    last = rows_of(tmp_path / "whole/diagnostics.csv")[-1]
    assert (last["epoch"], last["layer"], last["ever_active"]) == ("3", ALL, "1")  # it begins dense
    assert float(last["sparsity"]) == pytest.approx(0.9, abs=1e-3)
    assert float(last["overlap_initial"]) == pytest.approx(0.1, abs=1e-3)
