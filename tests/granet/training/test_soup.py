"""granet.training.soup: means of networks under one mask, and nothing else."""

import pytest
import torch
from torch import nn

import granet
from granet import METHODS, UserError
from granet.methods import fixed
from granet.training.evaluate import evaluate
from granet.training.loop import fit
from tests.helpers.training import make_run


def test_a_soup_is_the_mean_of_every_weight_and_of_the_running_statistics():
    torch.manual_seed(0)
    models = [nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)) for _ in range(3)]
    mask = torch.rand(3, 4) > 0.5
    for number, model in enumerate(models):
        with torch.no_grad():
            model.get_parameter("0.weight").mul_(mask)
        model.get_buffer("1.running_mean").fill_(number)
        model.get_buffer("1.num_batches_tracked").fill_(5 + number)
    states = [model.state_dict() for model in models]
    mean = granet.soup(states, {"0.weight": mask})
    assert mean.keys() == states[0].keys()
    written = (states[0]["0.weight"] + states[1]["0.weight"] + states[2]["0.weight"]) / 3
    assert torch.allclose(mean["0.weight"], written)
    assert (mean["0.weight"][~mask] == 0).all() and mean["0.weight"].dtype == torch.float32
    assert mean["1.running_mean"].tolist() == [1.0, 1.0, 1.0]
    assert mean["1.num_batches_tracked"] == 5
    alone = granet.soup(states[:1], {"0.weight": mask})
    assert all(torch.equal(value, states[0][name]) for name, value in alone.items())
    assert alone["0.weight"].data_ptr() != states[0]["0.weight"].data_ptr()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda states, masks: states.clear(), r"states=\[\]"),
        (lambda states, masks: states[1].pop("bias"), r"states\[1\] is of another network .*: bias differs"),
        (lambda states, masks: masks.update(other=torch.ones(1) > 0), "there is one for other, which is no"),
        (
            lambda states, masks: states[1]["weight"].fill_(1),
            r"states\[1\] has weights off the mask of weight",
        ),
    ],
)
def test_networks_of_other_masks_are_refused(change, message):
    states = [{"weight": torch.tensor([1.0, 0.0]), "bias": torch.ones(2)} for _ in range(2)]
    masks = {"weight": torch.tensor([True, False])}
    change(states, masks)
    with pytest.raises(UserError, match=message):
        granet.soup(states, masks)


def test_two_retrainings_of_one_mask_make_a_network_that_can_be_evaluated(digits, tmp_path):
    """Pruned once, retrained in two orders; the mean gets statistics of its own."""
    first = make_run(digits, method=METHODS["one_shot"](sf=0.8), epochs=1)
    second = make_run(digits, method=fixed(first.sparsifier.masks), epochs=1, seed=1)
    second.model.load_state_dict(first.model.state_dict())
    for name, run in (("first", first), ("second", second)):
        fit(run, history_csv=tmp_path / f"{name}.csv", checkpoint_path=tmp_path / f"{name}.pt")
    runs = [first, second]
    mean = granet.soup([run.model.state_dict() for run in runs], first.sparsifier.masks)
    assert not torch.equal(*(run.model.get_parameter("fc.weight") for run in runs))
    first.model.load_state_dict(mean)
    granet.recalibrate(first.model, first.unaugmented(4), forward=first.forward)
    assert not torch.equal(first.model.state_dict()["bn1.running_mean"], mean["bn1.running_mean"])
    batches = ((first.data.augment.evaluate(x), y) for x, y in first.data.evaluated["test"].epoch(0))
    loss, _ = evaluate(first.model, batches, first.forward, first.device)
    assert 0 < loss < 10
