"""The pictures of a run: looked at by their pixels, since what they show is matplotlib's."""

import numpy as np
import pytest
from PIL import Image

from pipeline.tracking.curves import draw, draw_layers

ROWS = {
    "with a split held out": "epoch,lr,train_loss,train_accuracy,val_loss,val_accuracy,sparsity\n"
    "1,0.1,2.0,0.1,2.1,0.2,0.0\n2,0.01,1.0,0.5,1.1,0.6,0.9\n",
    "of one epoch": "epoch,lr,train_loss,train_accuracy,sparsity\n1,0.1,2.0,0.1,0.0\n",
}


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS.keys())
def test_a_history_becomes_four_panels_with_lines(tmp_path, rows):
    (tmp_path / "history.csv").write_text(rows)
    draw(tmp_path / "history.csv", "a run", tmp_path / "curves.png")
    draw(tmp_path / "history.csv", "a run", tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "curves.png").read_bytes()
    pixels = np.asarray(Image.open(tmp_path / "curves.png").convert("RGB")).reshape(-1, 3)
    for color in [(0x9C, 0xA3, 0xAF), *([(0xE6, 0x9F, 0x00)] if "val" in rows else [])]:
        assert (abs(pixels.astype(int) - color).max(axis=1) < 3).sum() > 20


def test_layers_are_drawn_by_epoch_and_a_dense_run_has_none(tmp_path):
    table = tmp_path / "diagnostics.csv"
    table.write_text("epoch,layer,sparsity\n")
    assert not draw_layers(table, "a run", tmp_path / "layers.png")
    assert not (tmp_path / "layers.png").exists()

    rows = [
        (epoch, layer, share) for epoch in (1, 2) for layer, share in (("a.weight", 0.5), ("b.weight", 0.99))
    ]
    rows += [(epoch, "all", 0.9) for epoch in (1, 2)]
    table.write_text("epoch,layer,sparsity\n" + "".join(f"{e},{name},{s}\n" for e, name, s in rows))
    assert draw_layers(table, "a run", tmp_path / "layers.png")
    pixels = np.asarray(Image.open(tmp_path / "layers.png").convert("RGB")).astype(int)
    palest, middle = (
        (247, 251, 255),
        (8, 90, 167),
    )  # of "Blues": 99 % is the sparsest, and 50 % lies near the dense end
    column = pixels[:, pixels.shape[1] // 2]
    assert (abs(column - palest).max(axis=1) < 3).sum() > 20
    assert (abs(column - middle).max(axis=1) < 12).sum() > 20
