"""What the study is told: its grid, the names of its networks, and values that make no sense."""

import pytest

from granet import UserError
from granet.studies.plasticity import PlasticityConfig, branches, parse_network
from granet.training.config import TrainConfig


def test_the_grid_goes_epoch_by_epoch():
    config = PlasticityConfig(epochs=[3, 1], rates=[0.2, 0.9], filter_rates=[0.1])
    elements = branches(config, "element")
    assert len(elements) == 2 * 2 * 2 * 2 * 2  # epochs, outcomes, scopes, rates, with and without
    assert [branch.epoch for branch in elements] == [1] * 16 + [3] * 16
    assert elements[0].name == "plasticity-1-global-0.2-pruned"
    assert {(b.scope, b.rate) for b in branches(config, "filter")} == {("uniform", 0.1)}


@pytest.mark.parametrize(("epochs", "continued"), [(160, 30), (100, 19), (12, 2), (1, 1)])
def test_plasticity_is_measured_over_the_papers_share_of_the_run(epochs, continued):
    assert PlasticityConfig().continued(TrainConfig(epochs=epochs)) == continued
    assert PlasticityConfig(continued_epochs=7).continued(TrainConfig(epochs=epochs)) == 7


@pytest.mark.parametrize("text", ["element", "row-0.5", "element-1.0", "element-x", "filter--0.1", "0.5"])
def test_a_text_that_is_no_network_is_refused(text):
    with pytest.raises(UserError, match=r"granularity-sparsity, e\.g\. element-0\.9") as error:
        parse_network(text, key="grid.pretrain")
    assert str(error.value).startswith(f"grid.pretrain='{text}'")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": []}, r"plasticity\.epochs=\[\] must name at least one"),
        ({"epochs": [0, 5]}, r"plasticity\.epochs=\[0, 5\] must be at least 1"),
        ({"rates": [0.5, 1.0]}, r"plasticity\.rates=\[0\.5, 1\.0\] must be in \[0, 1\)"),
        ({"rates": [0.5, 0.5]}, "none twice"),
        ({"scopes": ["local"]}, r"plasticity\.scopes=\['local'\] must be global or uniform"),
        ({"outcomes": ["middle"]}, "must be plasticity or final"),
        ({"continued_epochs": 0}, "continued_epochs=0 must be at least 1"),
    ],
)
def test_bad_values_are_refused_in_one_line(values, message):
    with pytest.raises(UserError, match=message) as error:
        PlasticityConfig(**values)
    assert "\n" not in str(error.value)
