"""What a reader sees of a section: names, colours, families."""

from dataclasses import replace

import pytest

from pipeline.params.files import compose, section_texts
from pipeline.report.names import by_family, colors, heading, labels, title
from tests.helpers.runs import params_of


def with_sections(**sections):
    params = params_of()
    return replace(params, methods=params.methods | sections)


def test_sections_of_the_recipes_by_their_names():
    assert labels(params_of()) == {
        "dense": "Dense",
        "static_uniform": "Static (uniform)",
        "static_er": "Static (ER)",
        "static": "Static (ERK)",
        "small_dense": "Small-Dense",
        "snip": "SNIP",
        "iter_snip": "Iterative SNIP",
        "force": "FORCE",
        "grasp": "GraSP",
        "synflow": "SynFlow",
        "set": "SET",
        "deep_r": "Deep-R",
        "dsr": "DSR",
        "snfs": "SNFS",
        "rigl": "RigL",
        "rigl_2020": "RigL (own settings)",
        "rigl_itop": "RigL-ITOP",
        "rigl_nm": "RigL N:M",
        "srigl": "SRigL",
        "mest": "MEST (EM)",
        "mest_s": "MEST (EM&S)",
        "topkast": "Top-KAST",
        "gse": "GSE",
        "cht": "CHTs",
        "granet_s2s": "GraNet (si = 0.5)",
        "chase": "Chase (si = 0.5)",
        "gmp": "GMP",
        "gmp_uniform": "GMP (uniform)",
        "gmp_original": "GMP (original)",
        "gmp_star": "GMP*",
        "acdc": "AC/DC",
        "str": "STR",
        "dpf": "DPF",
        "sr_ste": "SR-STE",
        "granet": "GraNet (si = 0)",
        "granet_uniform": "GraNet (uniform)",
        "granet_2x": "GraNet 2x",
        "one_shot": "One-shot",
        "obd": "OBD",
        "imp": "IMP",
        "imp_late": "IMP (rewound to 5 epochs)",
        "bimp": "BIMP",
        "bimp_one_shot": "BIMP (one-shot)",
        "sis": "SIS",
    }


def test_names_come_from_the_values():
    params = params_of()
    moved = with_sections(granet_s2s=params.methods["granet_s2s"] | {"si": 0.8})
    assert labels(moved)["granet_s2s"] == "GraNet (si = 0.8)"
    longer = with_sections(granet_2x=params.methods["granet_2x"] | {"extend": 2.5})
    assert labels(longer)["granet_2x"] == "GraNet 2.5x"


@pytest.mark.parametrize(
    ("values", "name"),
    [
        (
            {"method": "granet", "drop_fraction": 0.3, "tf": "30ep"},
            "GraNet (si = 0, tf 30ep, drop_fraction 0.3)",
        ),
        ({"method": "granet", "si": 0.5, "distribution": "uniform"}, "GraNet (si = 0.5, uniform)"),
        ({"method": "gmp_original", "distribution": "global"}, "GMP (original, global)"),
        ({"method": "snip", "num_images": 500}, "SNIP (num_images 500)"),
        ({"method": "snip", "distribution": "uniform"}, "SNIP (uniform)"),
        ({"method": "snip", "distribution": "uniform", "dense_layers": "first"}, "SNIP (RigL's settings)"),
        ({"method": "granet", "update_interval": "40it"}, "GraNet (si = 0)"),
        ({"method": "granet", "t0": "0ep"}, "GraNet (si = 0)"),  # the default, 0it, in another unit
        ({"method": "granet", "t0": "1ep"}, "GraNet (si = 0, t0 1ep)"),
        ({"method": "granet", "si": 0.4999999}, "GraNet (si = 0.4999999)"),
    ],
)
def test_what_departs_from_the_defaults_is_in_the_name(values, name):
    assert title(values) == name


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
    params = params_of(methods=["granet", "gmp", "static", "granet_s2s", "rigl"], after=["sis"])
    # before training; sparse to sparse; dense to sparse; after: as the grid has them within a family
    assert by_family(params) == ["static", "granet_s2s", "rigl", "granet", "gmp", "sis"]
    assert [params.stage_of(section) for section in ("gmp", "sis")] == ["sparse", "after"]


def test_known_sections_keep_their_colour_whatever_else_is_there():
    params = with_sections(mine={"method": "gmp"}, yours={"method": "gmp"})
    palette = colors(params)
    assert palette["granet"] == section_texts()["granet"]["color"]
    assert len(set(palette.values())) == len(palette)


def test_every_section_of_the_recipes_is_in_sections_yaml_and_has_a_colour_of_its_own():
    sections = {*params_of().methods, *compose(["recipe=imagenet"]).methods}
    assert sections == set(section_texts())
    assert len({text["color"] for text in section_texts().values()}) == len(sections)


@pytest.mark.parametrize("interval", ["0.5ep", "0.001ep", "1it", "auto"])
@pytest.mark.parametrize(
    ("section", "values", "expected"),
    [
        ("rigl", {}, "Sparse to sparse"),
        ("granet", {}, "Dense to sparse"),
        ("granet", {"si": 0.5}, "Sparse to sparse"),
    ],
)
def test_a_family_depends_on_no_interval(section, values, expected, interval):
    params = params_of()
    bent = with_sections(**{section: params.methods[section] | values | {"update_interval": interval}})
    assert heading(bent, section) == expected
