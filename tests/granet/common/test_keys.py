"""granet.common.keys: a range is declared once, and every configuration refuses exactly what it leaves out."""

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from granet.common.keys import Key, check_keys, key, keys_of
from granet.data import DataConfig
from granet.studies.plasticity import PlasticityConfig
from granet.training.config import TrainConfig
from granet.types import UserError

CONFIGS = {"train": TrainConfig, "data": DataConfig, "plasticity": PlasticityConfig}
KEYS = [(section, name) for section, config in CONFIGS.items() for name in keys_of(config)]
REST: dict[tuple[str, str], dict[str, Any]] = {
    ("train", "momentum"): {"nesterov": False},
    ("train", "num_processes"): {"batch_size": 10**9},
    ("train", "warmup_epochs"): {"epochs": 10**9},
    ("train", "lr_schedule"): {"warmup_epochs": 1.0},
    ("train", "lr_final"): {"lr_schedule": "cosine", "lr": 1e9},
}
"""What rules over several keys need beside a key's extreme values."""


@pytest.mark.parametrize(
    ("about", "inside", "outside"),
    [
        (Key("", at_least=1), [1, 2.5, 1e300], [0.999, -1, math.nan, math.inf]),
        (Key("", above=0, at_most=1), [1e-300, 1], [0, 1.0001, math.nan]),
        (Key("", at_least=0, below=1), [0, 0.999], [-0.1, 1, math.nan]),
        (Key("", below=2), [1.9, -1e9], [2, -math.inf]),
        (Key("", choices=("a", "b")), ["a", "b"], ["c", "", "A"]),
        (Key(""), [math.nan, "anything", -1], []),
    ],
    ids=lambda value: value.rule or "anything" if isinstance(value, Key) else "",
)
def test_a_range_holds_its_ends_or_not_as_it_says(about, inside, outside):
    assert all(about.allows(value) for value in (None, *inside))
    assert not any(about.allows(value) for value in outside)
    assert about.allows(inside) and about.allows([])
    assert not any(about.allows([*inside, value]) for value in outside)


def test_the_message_names_key_value_rule_and_meaning():
    with pytest.raises(UserError, match=r"^data\.size=\[1, 0\] must be at least 1: of a subset$"):
        Key("of a subset", at_least=1).check("data.size", [1, 0])


def test_a_list_is_each_instances_own_and_fields_without_a_key_are_not_checked():
    @dataclasses.dataclass
    class Config:
        drops: list[float] = key([0.5], "points", at_least=0)
        note: float = -1.0

    one, other = Config(), Config()
    one.drops.append(-1.0)
    assert other.drops == [0.5]
    assert list(keys_of(Config)) == ["drops"]
    check_keys("train", other)
    with pytest.raises(UserError, match=r"train\.drops=\[0\.5, -1\.0\]"):
        check_keys("train", one)


def values_of(section: str, name: str) -> st.SearchStrategy:
    """Values of the key's type, near its default, its ends and far from them."""
    fields = {field.name: str(field.type) for field in dataclasses.fields(CONFIGS[section])}
    about, kind = keys_of(CONFIGS[section])[name], fields[name]
    ends = [x for x in (about.at_least, about.above, about.at_most, about.below) if x is not None]
    if "str" in kind:
        one: st.SearchStrategy = st.sampled_from([*about.choices, "else", ""])
    elif "bool" in kind:
        one = st.booleans()
    elif "int" in kind:
        near = [int(end) + step for end in ends for step in (-1, 0, 1)]
        one = st.sampled_from(near or [0]) | st.integers(-(10**6), 10**6)
    else:
        near = [end + step for end in ends for step in (-1e-9, 0.0, 1e-9)]
        one = st.sampled_from([*map(float, near), math.nan, math.inf]) | st.floats(-1e6, 1e6)
    if "list" in kind:
        sizes = (2, 2) if name == "betas" else (1, 3)
        return st.lists(one, min_size=sizes[0], max_size=sizes[1], unique=True)
    return one | st.none() if "None" in kind else one


@pytest.mark.parametrize(("section", "name"), KEYS, ids=lambda text: text)
@given(data=st.data())
def test_a_configuration_refuses_exactly_what_its_keys_do(section, name, data):
    value = data.draw(values_of(section, name))
    values = REST.get((section, name), {}) | {name: value}
    if keys_of(CONFIGS[section])[name].allows(value):
        assert getattr(CONFIGS[section](**values), name) == value
    else:
        with pytest.raises(UserError) as error:
            CONFIGS[section](**values)
        assert str(error.value).startswith(f"{section}.{name}={value!r} must be ")
        assert "\n" not in str(error.value)
