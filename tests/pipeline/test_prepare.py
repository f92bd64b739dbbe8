"""The prepare stage: it refuses what it cannot do in one line, before any work."""

import re
from pathlib import Path

import pytest

from granet import UserError
from pipeline.prepare import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["out="], "out= is empty; write a value behind it, or leave it out"),
        (["seed=1"], "'seed=1' is no argument of the prepare stage"),
        (["dataset=mnist"], "dataset='mnist' is unknown; choose from digits, cifar10"),
        (["data.train_size=0"], "data.train_size=0 must be at least 1"),
        (["data.image_size=31"], "data.image_size=31 must be in [32, 4096]"),
    ],
)
def test_bad_arguments_are_refused(arguments, message, monkeypatch, tmp_path):
    monkeypatch.setattr("pipeline.prepare.prepare", lambda *_, **__: pytest.fail("it began"))
    with pytest.raises(UserError, match=re.escape(message)) as error:
        main(arguments)
    assert "\n" not in str(error.value)


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
