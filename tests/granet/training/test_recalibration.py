"""granet.training.recalibration: running statistics are the mean over the batches' own, and nothing else changes."""

import copy

import pytest
import torch
from torch import nn

import granet
from granet import METHODS, UserError
from granet.training.loop import fit
from tests.granet.training.test_loop import rows, same_weights
from tests.helpers.training import make_run


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.Dropout(0.5),
        nn.Conv2d(4, 5, 3),
        nn.BatchNorm2d(5, momentum=0.3),
        nn.BatchNorm2d(5, track_running_stats=False),
    )


def batches(number: int = 4) -> list:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(6, 3, 8, 8, generator=generator), None) for _ in range(number)]


def test_statistics_are_means_of_the_batches_own():
    """Written out: the second norm sees what the first makes of a batch by the batch's own statistics, undropped."""
    model = network().train()
    before = copy.deepcopy(model.state_dict())
    granet.recalibrate(model, batches, 3)
    inner = [before["0.weight"], before["0.bias"], before["3.weight"], before["3.bias"]]
    firsts, seconds = [], []
    for images, _ in batches()[:3]:
        first = nn.functional.conv2d(images, inner[0], inner[1])
        normed = nn.functional.batch_norm(first, None, None, training=True)
        firsts.append(first)
        seconds.append(nn.functional.conv2d(normed, inner[2], inner[3]))
    for norm, seen in ((model[1], firsts), (model[4], seconds)):
        means = torch.stack([x.mean((0, 2, 3)) for x in seen]).mean(0)
        variances = torch.stack([x.var((0, 2, 3)) for x in seen]).mean(0)
        assert torch.allclose(norm.running_mean, means, atol=1e-6)
        assert torch.allclose(norm.running_var, variances, atol=1e-6)
    assert [module.training for module in model] == [True] * 6
    assert [model[1].momentum, model[4].momentum] == [0.1, 0.3]
    for name, value in model.state_dict().items():
        assert "running" in name or "tracked" in name or torch.equal(value, before[name])


def test_a_network_without_statistics_is_left_alone_and_no_batch_is_refused():
    granet.recalibrate(nn.Linear(2, 2), [])
    with pytest.raises(UserError, match="need one batch at least"):
        granet.recalibrate(nn.BatchNorm1d(2), [])


def test_a_pruned_network_is_evaluated_by_statistics_of_its_own(digits, tmp_path):
    """Training takes the same course; only what evaluation reads differs, and that is two batches' statistics."""
    runs = {}
    for number in (0, 2):
        runs[number] = make_run(digits, method=METHODS["static"](sf=0.9), epochs=2, recalibrate=number)
        paths = {"history_csv": tmp_path / f"{number}.csv", "checkpoint_path": tmp_path / f"{number}.pt"}
        fit(runs[number], **paths)
    histories = [rows(tmp_path / f"{number}.csv") for number in (0, 2)]
    assert [row["train_loss"] for row in histories[0]] == [row["train_loss"] for row in histories[1]]
    assert [row["test_loss"] for row in histories[0]] != [row["test_loss"] for row in histories[1]]
    pairs = zip(runs[0].model.parameters(), runs[2].model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert not same_weights(runs[0], runs[2])
    granet.recalibrate(runs[0].model, runs[0].unaugmented(2), forward=runs[0].forward)
    assert same_weights(runs[0], runs[2])


def test_what_fails_leaves_the_statistics_as_they_were():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model(torch.randn(8, 2))
    before = copy.deepcopy(model.state_dict())

    def broken():
        yield torch.randn(4, 2), None
        raise OSError("the disk is gone")

    for batches, error in ((iter([]), UserError), (broken, OSError)):
        with pytest.raises(error):
            granet.recalibrate(model, batches)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
