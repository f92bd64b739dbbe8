"""pipeline.training.cell.run_of: a run is refused before any work, and only for what it reads."""

import pytest

from granet.types import UserError
from pipeline.params.__main__ import main as write_params
from pipeline.training.cell import run_of


@pytest.fixture(autouse=True)
def _quick(tmp_path, monkeypatch):
    """A folder with the committed parameters alone: no images are prepared."""
    monkeypatch.chdir(tmp_path)
    write_params(["recipe=quick"])


def test_a_fault_of_another_section_is_none_of_this_run():
    """One epoch of 12 steps is too short for GMP's interval."""
    short = ["train.epochs=1", "train.batch_size=128"]
    cell, params, _ = run_of("sparse", ["method=rigl", *short])
    assert (cell.method, params.train.epochs) == ("rigl", 1)
    with pytest.raises(UserError, match=r"^gmp: update_interval=10: no mask update falls between"):
        run_of("sparse", ["method=gmp", *short])


@pytest.mark.parametrize("stage", ["pretrain", "plasticity"])
def test_a_network_that_is_pruned_after_its_end_is_not_trained(stage):
    with pytest.raises(UserError, match=r"^plasticity\.epochs=.*: 20 is not before the end of training"):
        run_of(stage, ["network=element-0.9"])


@pytest.mark.parametrize(("stage", "right"), [("sparse", "after"), ("after", "sparse")])
def test_a_section_of_another_stage_is_sent_there(stage, right):
    section = {"sparse": "sis", "after": "gmp"}[stage]
    with pytest.raises(UserError, match=f"method='{section}' belongs to the {right} stage"):
        run_of(stage, [f"method={section}"])


@pytest.mark.parametrize("text", ["data.train_size=100", "data={train_size: 100}"])
def test_other_data_than_those_prepared_are_refused_in_any_form(text):
    with pytest.raises(UserError, match=r"^data\.train_size=100: the data are prepared already"):
        run_of("sparse", ["method=gmp", text])
