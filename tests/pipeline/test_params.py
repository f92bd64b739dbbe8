import pytest

from granet.types import UserError
from pipeline import params


def raw(**changes):
    """The quick recipe as plain data, with dotted changes: raw(granet__si=0.5)."""
    data = params.compose(["recipe=quick"]).sections()
    for key, value in changes.items():
        section, _, name = key.partition("__")
        data[section] = {**data[section], name: value} if name else value
    return data


def test_the_committed_params_yaml_is_the_quick_recipe():
    assert params.FILE.read_text() == params.to_yaml(params.compose(["recipe=quick"]))


@pytest.mark.parametrize("recipe", sorted(path.stem for path in (params.CONF / "recipe").glob("*.yaml")))
def test_every_recipe_survives_a_round_trip(recipe, tmp_path):
    composed = params.compose([f"recipe={recipe}"])
    file = tmp_path / "params.yaml"
    file.write_text(params.to_yaml(composed))
    assert params.load(path=file) == composed


def test_a_recipe_takes_overrides():
    composed = params.compose(["recipe=ci", "grid.seeds=[0,1]", "granet.si=0.25", "train.epochs=3"])
    assert (composed.grid.seeds, composed.methods["granet"]["si"], composed.train.epochs) == ([0, 1], 0.25, 3)


def test_times_are_resolved_to_steps():
    changed = params.validate(raw(granet__tf="15ep", granet__t0="24it"))
    prune = changed.method("granet", 0.98, steps_per_epoch=12).prune
    assert prune is not None
    assert (prune.t0, prune.tf) == (24, 180)


def test_tf_auto_is_the_first_learning_rate_drop_where_training_starts_sparse():
    quick = params.validate(raw(train__lr_drops=[0.4, 0.75]))
    from_sparse = quick.method("granet_s2s", 0.98, steps_per_epoch=12).prune
    from_dense = quick.method("granet", 0.98, steps_per_epoch=12).prune
    assert from_sparse is not None
    assert from_dense is not None
    assert from_sparse.span(240, 10) == (0, 90)  # 0.4 * 240 = 96
    assert from_dense.span(240, 10) == (0, 160)  # 0.6875 * 240 = 165


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"granet__sii": 0.5}, r"granet\.sii is an unknown key; did you mean si\?"),
        ({"grnet": {"si": 0.5}}, "grnet is an unknown section; did you mean granet"),
        ({"train__epoch": 3}, r"train\.epoch is an unknown key; did you mean epochs"),
        ({"train__epochs": "many"}, r"train\.epochs='many' is not valid"),
        ({"grid__seeds": ["a"]}, r"grid\.seeds=\['a'\] is not valid"),
        ({"train": 3}, "train=3 must be a section"),
        ({"granet__si": 0.99}, "granet at sparsity 0.98: si=0.99"),
        ({"grid__sparsities": [1.0]}, r"grid\.sparsities=1\.0 must lie in \(0, 1\)"),
        ({"grid__sparsities": [0.0]}, r"grid\.sparsities=0\.0.*dense stage"),
        ({"grid__methods": [[1]]}, r"grid\.methods=\[1\] is unknown"),
        ({"train__lr": "${foo}"}, r"train\.lr='\$\{foo\}' is not valid"),
        ({"data__val_size": 2000}, r"data\.val_size=2000 leaves none"),
        ({"grid__sparsities": [-0.1]}, r"grid\.sparsities=-0\.1"),
        ({"granet__tf": "30ep"}, "granet: tf=360 steps lies beyond the end of training"),
        ({"granet__tf": "soon"}, r"granet\.tf='soon' is no point in time"),
        ({"granet__update_interval": 0}, "update_interval=0 must be at least 1"),
        ({"granet__update_interval": 500}, "granet: update_interval=500: no mask update falls"),
        ({"granet__method": "magic"}, r"granet\.method='magic' is unknown"),
        ({"grid__methods": ["magic"]}, r"grid\.methods='magic' is unknown"),
        ({"grid__models": ["resnet21"]}, r"grid\.models='resnet21' is unknown; did you mean resnet20"),
        ({"grid__datasets": ["mnist"]}, r"grid\.datasets='mnist' is unknown"),
        ({"data__loader": "dali"}, r"data\.loader='dali' is unknown"),
        ({"grid__methods": []}, r"grid\.methods=\[\] is empty"),
        ({"grid__seeds": []}, r"grid\.seeds=\[\] is empty"),
        ({"grid__seeds": [0, 0]}, "names an entry twice"),
        ({"grid__seeds": [-1]}, r"grid\.seeds=-1"),
        ({"data__train_size": 0}, r"data\.train_size=0"),
        ({"train__precision": "fp8"}, r"train\.precision='fp8'"),
        ({"train__lr": 0.0}, r"train\.lr=0\.0 must be above 0"),
    ],
)
def test_bad_input_gets_one_line_that_names_the_key(changes, message):
    with pytest.raises(UserError, match=message) as error:
        params.validate(raw(**changes))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recipe=table99"], "table99.*Recipes: ci, quick"),
        (["recipe=quick", "granet.s=1"], r"granet\.s is an unknown key"),
        (["recipe=quick", "nothing.at=1"], "nothing is an unknown section"),
        (["recipe=quick", "grid.seeds=[0"], r"'\[0' is not a YAML value"),
    ],
)
def test_bad_command_lines_are_refused(arguments, message):
    with pytest.raises(UserError, match=message) as error:
        params.compose(arguments)
    assert "\n" not in str(error.value)


def test_a_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(UserError, match="is missing"):
        params.load(path=tmp_path / "params.yaml")
    broken = tmp_path / "broken.yaml"
    for content, message in (
        (b"grid: [1,", "not valid YAML"),
        (b"\xff\xfe\xfa", "not valid YAML"),
        (b"", "no sections grid and train"),
        (b"- 1", "no sections grid and train"),
    ):
        broken.write_bytes(content)
        with pytest.raises(UserError, match=message):
            params.load(path=broken)


def test_writing_shows_what_changed_and_a_fault_leaves_the_file_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    params.main(["recipe=quick"])
    before = params.FILE.read_text()
    capsys.readouterr()
    params.main(["recipe=quick", "granet.si=0.25"])
    assert "+  si: 0.25" in capsys.readouterr().out
    changed = params.FILE.read_text()
    with pytest.raises(UserError):
        params.main(["recipe=quick", "granet.si=2.0"])
    assert params.FILE.read_text() == changed != before


def test_every_key_carries_its_meaning():
    lines = params.to_yaml(params.compose(["recipe=quick"])).splitlines()
    train = lines[lines.index("train:") + 1 :]
    assert all("#" in line for line in train[: train.index("")])
