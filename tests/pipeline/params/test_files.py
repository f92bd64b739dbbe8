"""pipeline.params.files: recipes, overrides, and a file that comes back as it was written."""

import pytest
from dvc.utils.serialize import load_yaml

from granet.types import UserError
from pipeline.params import files
from pipeline.params.checks import validate
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
    changes = ["train.epochs=1", "gmp.update_interval=20it"]
    assert files.load(changes).train.epochs == 1
    with pytest.raises(UserError, match="gmp: update_interval=20: no mask update"):
        files.load_grid(changes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recipe=table99"], r"recipe='table99' is unknown; did you mean table9\?"),
        (["recipe=quick", "granet.s=1"], r"granet\.s is an unknown key"),
        (["recipe=quick", "nothing.at=1"], "nothing is an unknown section"),
        (["recipe=quick", "grid.seeds=[0"], r"'\[0' is not a YAML value"),
        (["recipe=quick", "grid.seeds"], r"'grid\.seeds' is not an override"),
        (["recipe=quick", "train.lr=a: b"], r"train\.lr=\{'a': 'b'\} must be a valid number"),
        (["recipe=quick", "train.lr=inf"], r"train\.lr='inf' must be a valid number"),
        (["recipe=quick", "train.lr=.inf"], r"train\.lr=inf must be a finite number"),
        (["recipe=quick", "train.lr=.nan"], r"train\.lr=nan must be a finite number"),
        (["recipe=quick", "train.epochs="], r"train\.epochs=None must be a valid integer"),
        (["recipe=quick", "grid.sparsities=[90]"], r"grid\.sparsities=\[90\.0\]"),
        (["recipe=quick", "train={epoch: 3}"], r"train\.epoch is an unknown key; did you mean epochs\?"),
        (["recipe=quick", "nothing={a: 3}"], "nothing"),
        (["recipe=quick", "train.lr=!x 1"], "'!x 1' is not a YAML value"),
    ],
)
def test_bad_overrides_are_refused(arguments, message):
    with pytest.raises(UserError, match=message) as error:
        files.compose(arguments)
    assert "\n" not in str(error.value)


def test_a_section_that_is_a_value_cannot_be_overridden():
    with pytest.raises(UserError, match="train=3 must be a section"):
        files.override({"train": 3}, ["train.epochs=2"])


TEXTS = """/data/my #1 set|/data/a=b|/data/a b|/data/100%|/data/a, b|/data/a: b|/data/[x]
~/data|/data/it's|/data/ü|/data/{x}
/data/a\\b|#1|007|010|0o10|1_0|2024-01-02|12:30|on|yes|~|1e3|.5
${oc.env:HOME}/x|/data/a |@x|*x|!x|%x|&x|- x|? x|x:|<<|=|[|'|"
it's "so"|---|...|Null|true"""


@pytest.mark.parametrize(
    "text", [text for line in TEXTS.splitlines() for text in line.split("|")] + ["a\nb", "x" * 2000]
)
@pytest.mark.usefixtures("folder")
def test_a_text_arrives_as_it_was_written(text):
    files.write(files.compose(["recipe=quick", f"data.root={text}"]))
    assert files.load().data.root == text
    assert load_yaml("params.yaml")["data"]["root"] == text  # so DVC reads it, too
    files.write(files.load([f"launch.partition={text}"]))
    assert files.load().launch.partition == text


@pytest.mark.parametrize(
    ("text", "value"), [("null", None), ("'null'", "null"), ('"a\\tb"', "a\tb"), ("''", "")]
)
@pytest.mark.usefixtures("folder")
def test_quotes_and_null_mean_what_they_do_in_yaml(text, value):
    assert files.compose(["recipe=quick", f"data.root={text}"]).data.root == value


def test_keys_in_braces_change_and_the_others_stay():
    whole, changed = quick(), files.compose(["recipe=quick", "train={epochs: 30, lr: 0.2}"])
    assert (changed.train.epochs, changed.train.lr, changed.train.batch_size) == (
        30,
        0.2,
        whole.train.batch_size,
    )


@pytest.mark.parametrize(
    "text", ["[010]", "[0x1]", "[0o10]", "[1_0]", "[+1]", "[0, 1]", "[00, 01]", "[0b11]"]
)
def test_python_and_dvc_read_the_same_seeds(folder, text):
    (folder / files.FILE).write_text(files.to_yaml(quick()).replace("  seeds: [0] ", f"  seeds: {text} "))
    assert files.load().grid.seeds == load_yaml("params.yaml")["grid"]["seeds"]


@pytest.mark.parametrize("content", ["\ufeff{}", "{}\r"])
def test_marks_of_other_editors_change_nothing(folder, content):
    lines = files.to_yaml(quick()).splitlines()
    (folder / files.FILE).write_text("\n".join([content.format(lines[0]), *lines[1:]]), newline="")
    assert files.load() == quick()


@pytest.mark.parametrize(
    "name",
    [
        "granet.v2",
        "granet/v2",
        "granet v2",
        "a<b>",
        "a@b",
        "a:b",
        "-x",
        "it's",
        "$(touch x)",
        "a;b",
        "..",
        "a\tb",
        "a=b",
        "#x",
        "",
        "größe",
        "x" * 61,
        1,
        True,
        None,
    ],
)
def test_the_name_of_a_section_must_suit_folders_and_commands(name):
    sections = quick().sections()
    with pytest.raises(UserError, match="gives its name to folders and commands") as error:
        validate({**sections, name: dict(sections["granet"])})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["granet-v2", "granet_05", "X" * 60, "_a"])
def test_other_names_do(name):
    sections = quick().sections()
    assert name in validate({**sections, name: dict(sections["granet"])}).methods


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
