"""The prepare stage: where it looks for raw data."""

from pathlib import Path

import pytest

from pipeline.prepare import main


@pytest.mark.parametrize("root", ["~/photos", "${oc.env:HOME}/photos", "photos", "down/../photos/"])
def test_the_root_may_be_written_in_many_ways(root, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(
        "pipeline.prepare.prepare", lambda *a, **_: asked.append(a[2].root) or {"num_images": {}}
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("pipeline.prepare.root", lambda: tmp_path)
    main(["dataset=imagefolder", f"data.root={root}"])
    (tmp_path / "photos").mkdir()
    (tmp_path / "down").mkdir()
    assert Path(asked[0]).samefile(tmp_path / "photos")
