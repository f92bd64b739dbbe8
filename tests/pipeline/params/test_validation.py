"""pipeline.params.checks: bad input of any kind is one clear line that names the key and its value."""

import math
import re

import pytest

from granet.types import UserError
from pipeline.params.checks import typed, validate
from tests.helpers.parameters import quick, raw

SECTIONS = quick().sections()
KEYS = [
    (section, key)
    for section in ("train", "data", "grid", "plasticity", "granet", "imp")
    for key in SECTIONS[section]
]
BAD = (
    None,
    "",
    "soon",
    "${train.lr}",
    "???",
    "auto",
    [],
    [[1]],
    [None],
    {},
    {"a": 1},
    math.nan,
    math.inf,
    -1,
    1,
    True,
)


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_whatever_stands_at_a_key_is_accepted_or_refused_in_one_line(section, key):
    """And what is accepted has the type that the schema says: it can be read again, and is the same."""
    starts = rf"^({section}\.{key}|train\.(warmup_epochs|nesterov|num_processes))="  # these go together with others
    for value in BAD:
        try:
            params = validate(raw(**{f"{section}__{key}": value}))
        except UserError as error:
            line = str(error)
        else:
            line = (
                f"{section}.{key}=" if validate(params.sections()) == params else "it is not the same again"
            )
        assert re.match(starts, line) and "\n" not in line


@pytest.mark.parametrize("section", [*SECTIONS])
@pytest.mark.parametrize("value", [None, 3, "text", [], [1]])
def test_a_section_that_is_none_is_refused_by_its_name(section, value):
    with pytest.raises(UserError, match=rf"^{section}\b") as error:
        validate(raw(**{section: value}))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("section", ["grid", "train", "dense"])
def test_a_file_without_what_every_run_needs_is_refused(section):
    data = raw()
    del data[section]
    with pytest.raises(UserError, match=f"params.yaml has no section {section}; add it, as {section}: {{"):
        validate(data)


@pytest.mark.parametrize("section", ["data", "plasticity", "tracking", "launch", "granet"])
def test_other_sections_may_be_missing(section):
    data = raw()
    del data[section]
    assert section in validate(data).sections() or section == "granet"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"granet__sii": 0.5}, r"granet\.sii is an unknown key; did you mean si\?"),
        ({"grnet": {"si": 0.5}}, "grnet is an unknown section; did you mean granet"),
        ({"granet": {"si": 0.5}}, "granet names no method; write method: granet below it"),
        (
            {"my/own": {"method": "gmp"}},
            "section 'my/own' gives its name to folders and commands; write a letter",
        ),
        ({"tracking__experiment": " "}, r"tracking\.experiment=' ' is no name for MLflow"),
        ({"tracking__experiment": "a\nb"}, r"tracking\.experiment='a\\nb' is no name for MLflow"),
        ({"tracking__experiment": "x" * 501}, "is no name for MLflow; write 1 to 500 printable characters"),
        ({"train__epoch": 3}, r"train\.epoch is an unknown key; did you mean epochs"),
        ({"train__epochs": "many"}, r"train\.epochs='many' must be a valid integer"),
        ({"train__epochs": 2.5}, r"train\.epochs=2\.5 must be a valid integer"),
        ({"train__epochs": True}, r"train\.epochs=True must be a valid integer"),
        ({"train__lr": [0.1]}, r"train\.lr=\[0\.1\] must be a valid number"),
        ({"train__lr": math.nan}, r"train\.lr=nan must be a finite number"),
        ({"train__nesterov": 1}, r"train\.nesterov=1 must be a valid boolean"),
        ({"train__lr": "${foo}"}, r"train\.lr='\$\{foo\}' must be a valid number"),
        ({"grid__seeds": ["a"]}, r"grid\.seeds=\['a'\] must be a valid integer"),
        ({"grid__seeds": 0}, r"grid\.seeds=0 must be a valid list"),
        ({"grid__methods": [[1]]}, r"grid\.methods=\[\[1\]\] must be a valid string"),
        ({"grid__sparsities": [1.0]}, r"grid\.sparsities=\[1\.0\] must be in \(0, 1\)"),
        ({"grid__sparsities": [-0.1]}, r"grid\.sparsities=\[-0\.1\] must be in \(0, 1\)"),
        ({"grid__seeds": [-1]}, r"grid\.seeds=\[-1\] must be at least 0"),
        ({"grid__models": ["resnet21"]}, r"grid\.models=\['resnet21'\] must be .*resnet20"),
        ({"grid__datasets": ["mnist"]}, r"grid\.datasets=\['mnist'\] must be .*cifar10"),
        ({"train": 3}, "train=3 must be a section"),
        ({"train": None}, "train: is empty; write keys below it, or remove it"),
        ({"granet__tf": None}, r"granet\.tf=None must be a valid integer or a valid string"),
        ({"granet__t0": "auto"}, r"granet\.t0='auto' is no point in time"),
        ({"granet__tf": "soon"}, r"granet\.tf='soon' is no point in time"),
        ({"granet__tf": 30}, r"granet\.tf='30' is no point in time: write epochs as"),
        ({"granet__update_interval": 0}, r"granet\.update_interval='0it' is less than one optimizer step"),
        ({"granet__update_interval": "soon"}, r"granet\.update_interval='soon' is no interval: write"),
        ({"granet__update_interval": "-5"}, r"granet\.update_interval='-5' is no interval"),
        ({"granet__update_interval": -5}, r"granet\.update_interval='-5' is no interval"),
        ({"snfs__update_interval": "often"}, r"snfs\.update_interval='often' is no interval"),
        ({"granet__method": "magic"}, r"granet\.method='magic' is unknown"),
        ({"granet__regenerate_until": 0.5}, r"granet\.regenerate_until=0\.5 must be 'end' or 'tf'"),
        ({"granet__extend": 0.5}, r"granet\.extend=0\.5 must be at least 1"),
        ({"granet__extend": math.nan}, r"granet\.extend=nan must be a finite number"),
        ({"train__extend": 0.99}, r"train\.extend=0\.99 must be at least 1"),
        ({"dense": {"method": "dense", "extend": 2.0}}, r"dense\.extend is an unknown key"),
        ({"dense": {"method": "gmp"}}, r"dense\.method='gmp' must be dense"),
        ({"data__train_size": 0}, r"data\.train_size=0"),
        ({"data__loader": "dali"}, r"data\.loader='dali' must be ffcv, resident or auto"),
        ({"train__precision": "fp8"}, r"train\.precision='fp8'"),
        ({"train__lr": 0.0}, r"train\.lr=0\.0 must be above 0"),
    ],
)
def test_bad_input_gets_one_line_that_names_the_key(changes, message):
    with pytest.raises(UserError, match=message) as error:
        validate(raw(**changes))
    assert "\n" not in str(error.value)


def test_integers_are_fractions_too():
    """regenerate_until=1 is RigL's whole run, as 1.0 is."""
    whole = validate(raw(rigl__regenerate_until=1, train__lr=1))
    assert (whole.methods["rigl"]["regenerate_until"], whole.train.lr) == (1.0, 1.0)
    assert isinstance(whole.methods["rigl"]["regenerate_until"], float)
    assert whole.method("rigl", 0.9, 12).regenerate.until == 1.0


def test_a_bare_interval_gets_its_unit():
    changed = validate(raw(rigl__update_interval=30))
    assert changed == validate(raw(rigl__update_interval="30it"))
    assert changed.methods["rigl"]["update_interval"] == "30it"


def test_a_type_is_as_strict_as_its_name():
    assert typed("a.b", float, 2) == 2.0
    for kind, value in ((int, 2.0), (int, "2"), (bool, "yes"), (str, 2), (list[int], 2)):
        with pytest.raises(UserError, match=r"^a\.b="):
            typed("a.b", kind, value)
