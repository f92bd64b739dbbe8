"""What is accepted gets through: any parameters that validate mean a method and a clock in every run of the grid."""

from itertools import product

from hypothesis import HealthCheck, given, settings

from granet.sparsifier.clock import Clock
from pipeline.params import files
from pipeline.params.checks import check_grid, steps_per_epoch, validate
from pipeline.params.schema import Params
from tests.helpers.parameters import any_params


@settings(max_examples=25, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(params=any_params())
def test_what_validates_has_a_clock_in_every_run_and_comes_back_from_its_file(params: Params):
    grid = params.grid
    for dataset, section, sparsity in product(grid.datasets, [*grid.methods, *grid.after], grid.sparsities):
        steps = steps_per_epoch(params, dataset)
        method = params.method(section, sparsity, steps)
        Clock(method, params.train_config(section).total_epochs * steps * method.rounds)
        assert method.family == params.family(section)
        assert section in (grid.after if params.stage_of(section) == "after" else grid.methods)
    text = files.to_yaml(params)
    again = validate(files.parse_yaml(text))
    assert again == params
    assert files.to_yaml(again) == text
    check_grid(again)
