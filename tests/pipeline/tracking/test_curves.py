"""The picture of a run: looked at by its pixels, since what it shows is matplotlib's."""

import numpy as np
import pytest
from PIL import Image

from pipeline.tracking.curves import draw

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
