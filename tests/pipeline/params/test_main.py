"""python -m pipeline.params: writes params.yaml from a recipe, or edits the one that is there."""

import pytest

from granet.types import UserError
from pipeline.params.__main__ import main
from pipeline.params.files import FILE, load


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_writing_shows_what_changed_and_a_fault_leaves_the_file_alone(capsys):
    main(["recipe=quick"])
    before = FILE.read_text()
    capsys.readouterr()
    main(["recipe=quick", "granet.si=0.25"])
    assert "+  si: 0.25" in capsys.readouterr().out
    changed = FILE.read_text()
    for fault in ("granet.si=2.0", "granet.tf=99ep", "recipe=table99"):
        with pytest.raises(UserError):
            main(["recipe=quick", fault] if "." in fault else [fault])
    assert FILE.read_text() == changed != before


def test_without_a_recipe_the_file_that_is_there_is_edited(capsys):
    main(["recipe=table2", "train.epochs=3", "data.train_size=2000"])
    capsys.readouterr()
    main(["grid.seeds=[0,1]"])
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("+ ", "- "))]
    assert [line.split("#")[0].strip() for line in shown] == ["-  seeds: [0, 1, 2]", "+  seeds: [0, 1]"]
    params = load()
    assert (params.grid.seeds, params.train.epochs, params.tracking.experiment) == ([0, 1], 3, "table2")
    main([])
    assert capsys.readouterr().out == "params.yaml: no change\n"
