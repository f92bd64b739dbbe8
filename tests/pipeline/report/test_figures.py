"""Pictures: written, deterministic, and right in what they draw where a number can tell."""

import pandas as pd
import pytest

from pipeline.drawing import Series
from pipeline.report.figures import MANY, curves, dynamics, rows_of_curves
from pipeline.report.words import FAMILY_NAMES


def series(number, sparsity=0.9):
    """The dense model and as many methods, of two families in turn."""
    families = ("Sparse to sparse", "Dense to sparse")
    dense = Series("Dense", "#000000", None, "dense", "Dense", values=[0.9])
    return [
        dense,
        *(
            Series(f"m{i}", "#333333", sparsity, f"m{i}", families[i % 2], values=[0.8])
            for i in range(number)
        ),
    ]


def test_few_methods_share_a_row_of_curves():
    rows = rows_of_curves(series(MANY))
    assert list(rows) == ["final sparsity 90 %"]
    assert len(rows["final sparsity 90 %"]) == MANY + 1


def test_many_methods_stand_in_a_row_per_family_beside_the_dense_model():
    rows = rows_of_curves([*series(MANY + 1, 0.9), *series(2, 0.98)[1:]])
    assert list(rows) == [
        "90 %, Sparse to sparse",
        "90 %, Dense to sparse",
        "98 %, Sparse to sparse",
        "98 %, Dense to sparse",
    ]
    assert [s.label for s in rows["98 %, Dense to sparse"]] == ["Dense", "m1"]
    assert {s.family for s in series(2)[1:]} <= set(FAMILY_NAMES.values())


@pytest.mark.parametrize("number", [2, MANY + 1])
def test_curves_are_drawn_the_same_every_time(tmp_path, number):
    shown = series(number)
    index = pd.MultiIndex.from_product([[s.group for s in shown], [1, 2]], names=["group", "epoch"])
    keys = pd.MultiIndex.from_product([["sparsity", "test_accuracy", "inference_ratio"], ["mean", "std"]])
    frame = pd.DataFrame(0.5, index=index, columns=keys)
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    for path in (first, second):
        curves(shown, frame, path)
    assert first.read_bytes().startswith(b"\x89PNG")
    assert first.read_bytes() == second.read_bytes()


def test_figure_15_is_drawn_the_same_every_time(tmp_path):
    shown = [*series(2, 0.8)[1:], *series(2, 0.9)[1:]]
    index = pd.MultiIndex.from_product([["m0", "m1"], [1, 2]], names=["group", "epoch"])
    keys = pd.MultiIndex.from_product([["sparsity", "test_accuracy", "inference_ratio"], ["mean", "std"]])
    frame = pd.DataFrame(0.5, index=index, columns=keys)
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    for path in (first, second):
        dynamics(shown, frame, 8_178_569_216, path)
    assert first.read_bytes().startswith(b"\x89PNG")
    assert first.read_bytes() == second.read_bytes()
