"""pipeline.params.files: recipes, overrides, and a file that comes back as it was written."""

import pytest

from granet.types import UserError
from pipeline.params import files
from tests.helpers.parameters import quick


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_committed_params_yaml_is_the_quick_recipe():
    assert (files.CONF.parents[1] / files.FILE).read_text() == files.to_yaml(quick())


@pytest.mark.parametrize("recipe", files.recipes())
@pytest.mark.usefixtures("folder")
def test_every_recipe_survives_a_round_trip(recipe):
    composed = files.compose([f"recipe={recipe}"])
    files.write(composed)
    assert files.load_grid() == composed


def test_a_recipe_takes_overrides():
    composed = files.compose(
        ["recipe=ci", "grid.seeds=[0,1]", "granet.si=0.25", "train.epochs=3", "train.lr=1e-3"]
    )
    assert (composed.grid.seeds, composed.methods["granet"]["si"]) == ([0, 1], 0.25)
    assert (composed.train.epochs, composed.train.lr) == (3, 0.001)


@pytest.mark.usefixtures("folder")
def test_a_file_is_loaded_although_a_run_of_its_grid_cannot_be():
    files.write(quick())
    assert files.load(["train.epochs=1"]).train.epochs == 1
    with pytest.raises(UserError, match="gmp: update_interval=10: no mask update"):
        files.load_grid(["train.epochs=1"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recipe=table99"], r"recipe='table99' is unknown; did you mean table9\?"),
        (["recipe=quick", "granet.s=1"], r"granet\.s is an unknown key"),
        (["recipe=quick", "nothing.at=1"], "nothing is an unknown section"),
        (["recipe=quick", "grid.seeds=[0"], r"'\[0' is not a YAML value"),
        (["recipe=quick", "grid.seeds"], r"'grid\.seeds' is not an override"),
        (["recipe=quick", "train.lr=a: b"], r"'train\.lr=a: b': 'a: b' is not a YAML value"),
    ],
)
def test_bad_overrides_are_refused(arguments, message):
    with pytest.raises(UserError, match=message) as error:
        files.compose(arguments)
    assert "\n" not in str(error.value)


def test_a_section_that_is_a_value_cannot_be_overridden():
    with pytest.raises(UserError, match="train=3 must be a section"):
        files.override({"train": 3}, ["train.epochs=2"])


@pytest.mark.usefixtures("folder")
def test_a_missing_file_is_named():
    with pytest.raises(UserError, match=r"params\.yaml is missing; write it with"):
        files.load()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"grid: [1,", "not valid YAML"),
        (b"\xff\xfe\xfa", "not valid YAML"),
        (b"grid: {}\ngrid: {}", "not valid YAML"),
        (b"grid: ${", "not valid YAML"),
        (b"", "no section grid"),
        (b"- 1", "holds no sections; write one"),
        (b"3", "not valid YAML"),
        (b"text", "no section grid"),
    ],
)
def test_a_broken_file_is_named(folder, content, message):
    (folder / files.FILE).write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        files.load()
    assert "\n" not in str(error.value)


def test_what_is_said_of_a_section_is_said_of_one_that_a_recipe_has():
    sections = {name for recipe in files.recipes() for name in files.compose([f"recipe={recipe}"]).methods}
    assert set(files.section_texts()) <= sections


def test_a_recipes_section_says_what_sets_it_apart():
    lines = files.to_yaml(quick()).splitlines()
    assert lines[lines.index("granet_2x:") - 1] == "# Here trained twice as long (Table 6)."
    assert lines[lines.index("granet_2x:") + 1] == "  method: granet"


def test_every_key_carries_its_meaning():
    lines = files.to_yaml(quick()).splitlines()
    train = lines[lines.index("train:") + 1 :]
    assert all("#" in line for line in train[: train.index("")])
