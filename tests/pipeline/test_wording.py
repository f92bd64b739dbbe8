"""Names that a reader sees."""

from dataclasses import replace

from pipeline.wording import by_family, labels
from tests.helpers.runs import params_of


def with_sections(**sections):
    params = params_of()
    return replace(params, methods=params.methods | sections)


def test_si_comes_from_the_values():
    params = params_of()
    assert labels(params)["granet"] == "GraNet (si = 0)"
    assert labels(params)["granet_s2s"] == "GraNet (si = 0.5)"
    moved = with_sections(granet_s2s=params.methods["granet_s2s"] | {"si": 0.8})
    assert labels(moved)["granet_s2s"] == "GraNet (si = 0.8)"


def test_two_sections_never_share_a_name():
    section = params_of().methods["granet"]
    named = labels(with_sections(granet_s2s=section, mine=section | {"si": 0.6}))
    assert named["granet"] == "GraNet (si = 0)"
    assert named["granet_s2s"] == "GraNet (si = 0), granet_s2s"
    assert named["mine"] == "GraNet (si = 0.6), mine"
    assert len(set(named.values())) == len(named)


def test_a_method_without_a_display_name_shows_its_section():
    assert labels(with_sections(odd={"method": "odd"}))["odd"] == "odd"


def test_methods_stand_in_the_order_of_table_2():
    params = params_of(methods=["granet", "gmp", "static", "granet_s2s", "rigl"])
    # before training; sparse to sparse; dense to sparse: as the grid has them within a family
    assert by_family(params) == ["static", "granet_s2s", "rigl", "granet", "gmp"]
