"""pipeline.params.schema: the sections of params.yaml, and which family and stage a method section belongs to."""

import dataclasses

import pytest

from granet.common.keys import keys_of
from granet.methods import METHODS
from pipeline.params.checks import validate
from pipeline.params.files import compose, recipes
from pipeline.params.schema import SECTIONS, section_schema
from tests.helpers.parameters import quick, raw

FAMILIES = ("dense", "before_training", "sparse_to_sparse", "dense_to_sparse", "after_training")


def test_every_method_has_a_section():
    assert {section["method"] for section in quick().methods.values()} == set(METHODS)


def test_sections_stand_in_the_order_of_the_families():
    families = [quick().family(section) for section in quick().methods]
    assert families == sorted(families, key=FAMILIES.index)


@pytest.mark.parametrize(
    ("changes", "family"),
    [
        ({}, "dense_to_sparse"),
        ({"granet__si": 0.5}, "sparse_to_sparse"),
        ({"granet__si": 0.99}, "sparse_to_sparse"),  # more than any sparsity of the grid
        ({"granet__update_interval": "0.5ep"}, "dense_to_sparse"),  # no step of an epoch of one step
        ({"granet__tf": "9999ep"}, "dense_to_sparse"),
    ],
)
def test_a_family_needs_no_run(changes, family):
    assert validate(raw(**changes)).family("granet") == family


@pytest.mark.parametrize("recipe", recipes())
def test_the_grid_lists_a_section_where_its_stage_is_told_by_its_family(recipe):
    params = compose([f"recipe={recipe}"])
    stages = {"methods": "sparse", "after": "after"}
    for name, stage in stages.items():
        assert {params.stage_of(section) for section in getattr(params.grid, name)} <= {stage}


def test_a_family_is_that_of_the_method_in_a_run():
    for section in quick().methods:
        assert quick().method(section, 0.75, 12).family == quick().family(section)


@pytest.mark.parametrize(
    "schema", [*SECTIONS.values(), *map(section_schema, METHODS)], ids=lambda s: s.__name__
)
def test_every_key_is_declared_with_its_meaning(schema):
    names = [field.name for field in dataclasses.fields(schema)]
    meanings = {name: about.text for name, about in keys_of(schema).items()}
    assert [name for name in names if not meanings.get(name)] in ([], ["method"])


def test_a_method_section_has_its_rows_parameters_and_the_extension():
    fields = {field.name: field.default for field in dataclasses.fields(section_schema("gmp"))}
    assert fields == {
        "method": "gmp",
        "t0": "0it",
        "tf": "auto",
        "update_interval": "auto",
        "distribution": "global",
        "extend": 1.0,
    }
    assert [field.name for field in dataclasses.fields(section_schema("dense"))] == ["method"]
