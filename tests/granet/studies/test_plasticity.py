"""Branches of a pre-trained network, on real digits: exact counts, frozen rates, and nothing else that differs."""

import copy
import math
from typing import Any

import pytest
import torch

from granet import METHODS
from granet.data import open_data
from granet.models import build
from granet.studies.plasticity import (
    Branch,
    leave,
    measure,
    static,
)
from granet.training.checkpoint import load
from granet.training.config import TrainConfig
from granet.training.loop import fit
from granet.training.run import prepare_run
from granet.types import UserError

CPU = torch.device("cpu")
EPOCHS, STEPS = 4, 4  # 200 images in batches of 50; lr drops after epochs 2 and 3
CONFIG = TrainConfig(epochs=EPOCHS, batch_size=50, precision="fp32")
NETWORKS = ("element-0.0", "element-0.5", "filter-0.0", "filter-0.5")
WAYS = [
    ("element-0.5", "global", False),
    ("element-0.5", "uniform", True),
    ("filter-0.5", "uniform", False),
    ("filter-0.5", "uniform", True),
]


def make_run(digits, network, config=CONFIG):
    data = open_data(digits, loader="resident", batch_size=50, seed=0, num_workers=0, device=CPU)
    torch.manual_seed(0)
    model = build("resnet20", num_classes=data.num_classes, width=8)
    method = static(network, model, config.choice)
    return prepare_run("test", model, method, data, config, seed=0, device=CPU, choice=config.choice)


class Pretrained:
    """An unpruned run: its checkpoints after epochs 1 to 3, and its end."""

    def __init__(self, digits, network, folder, config=CONFIG):
        self.run = make_run(digits, network, config)
        paths = {"history_csv": folder / "history.csv", "checkpoint_path": folder / "last.pt"}
        self.history = fit(self.run, keep=(1, 2, 3), **paths)
        self.end = copy.deepcopy(self.run.model.state_dict())
        self.states = {epoch: load(folder / f"epoch-{epoch}.pt") for epoch in (1, 2, 3)}

    def measure(self, branch, folder, continued=1, **options):
        return measure(
            self.run,
            branch,
            self.states[branch.epoch],
            self.history[-1]["test_accuracy"],
            continued,
            title="branch",
            folder=folder,
            **options,
        )


@pytest.fixture(scope="module")
def pretrained(digits, tmp_path_factory):
    return {name: Pretrained(digits, name, tmp_path_factory.mktemp(name)) for name in NETWORKS}


def same(weights, others):
    return all(torch.equal(value, others[name]) for name, value in weights.items())


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("epoch", [1, 3])
@pytest.mark.parametrize("scope", ["global", "uniform"])
@pytest.mark.parametrize("regenerated", [False, True])
def test_a_branch_with_rate_0_is_the_unpruned_run_bit_for_bit(
    pretrained, tmp_path, network, epoch, scope, regenerated
):
    source = pretrained[network]
    row = source.measure(Branch(epoch, "final", scope, 0.0, regenerated), tmp_path)
    assert same(source.run.model.state_dict(), source.end)
    assert row["change"] == 0
    assert row["after"] == source.history[-1]["test_accuracy"]
    assert row["steps"] == source.history[-1]["step"]


@pytest.mark.parametrize("network", NETWORKS)
def test_a_frozen_branch_with_rate_0_is_the_unpruned_run_until_the_rate_would_drop(
    pretrained, tmp_path, network
):
    source = pretrained[network]
    row = source.measure(Branch(1, "plasticity", "uniform", 0.0, True), tmp_path)
    assert same(source.run.model.state_dict(), source.states[2]["model"])
    assert row["after"] == source.history[1]["test_accuracy"]
    assert row["before"] == source.history[0]["test_accuracy"]


@pytest.mark.parametrize(("epoch", "lr"), [(1, 0.1), (2, 0.01), (3, 0.001)])
def test_the_learning_rate_is_frozen_at_that_of_the_branching_epoch(pretrained, tmp_path, epoch, lr):
    """Epochs count from 0 there, as in the schedule: after two epochs the rate has dropped."""
    rows = []
    branch = Branch(epoch, "plasticity", "global", 0.5, False)
    row = pretrained["element-0.5"].measure(branch, tmp_path, continued=3, on_epoch=rows.append)
    assert row["lr"] == pytest.approx(lr)
    assert [r["epoch"] for r in rows] == [epoch + 1, epoch + 2, epoch + 3]
    assert [r["lr"] for r in rows] == pytest.approx([lr] * 3)
    assert row["steps"] == (epoch + 3) * STEPS


def test_a_final_branch_follows_the_remaining_schedule_to_the_same_step(pretrained, tmp_path):
    rows = []
    source = pretrained["element-0.0"]
    row = source.measure(Branch(1, "final", "global", 0.5, True), tmp_path, on_epoch=rows.append)
    assert [r["lr"] for r in rows] == [r["lr"] for r in source.history[1:]]
    assert row["steps"] == source.history[-1]["step"] == EPOCHS * STEPS
    assert row["before"] == source.history[-1]["test_accuracy"]


def updated(pretrained, branch):
    """The sparsifier of a branch before and right after its one update, with the weights before it."""
    state = copy.deepcopy(pretrained.states[branch.epoch])
    run = leave(pretrained.run, branch, 1)
    run.model.load_state_dict(state["model"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.sparsifier.load_state_dict(state["sparsifier"])
    before = {name: mask.clone() for name, mask in run.sparsifier.masks.items()}
    images, labels = next(iter(run.data.train.epoch(branch.epoch)))
    loss = torch.nn.functional.cross_entropy(run.model(run.data.augment.evaluate(images)), labels)
    loss.backward()
    run.sparsifier.after_backward()
    run.optimizer.step()
    moved = {name: value.detach().clone() for name, value in run.model.named_parameters()}
    run.sparsifier.after_step()
    return run, before, moved


@pytest.mark.parametrize("rate", [0.2, 0.9, 0.98])
@pytest.mark.parametrize("network", ["element-0.0", "element-0.5"])
def test_global_pruning_drops_the_smallest_weights_wherever_they_are(pretrained, network, rate):
    run, before, moved = updated(pretrained[network], Branch(2, "final", "global", rate, False))
    active = sum(int(mask.sum()) for mask in before.values())
    masks = run.sparsifier.masks
    assert sum(run.sparsifier.num_active.values()) == active - math.ceil(rate * active - 1e-9)
    kept = torch.cat([moved[name][mask].abs() for name, mask in masks.items()])
    dropped = torch.cat([moved[name][before[name] & ~mask].abs() for name, mask in masks.items()])
    assert kept.min() >= dropped.max()


def test_uniform_pruning_drops_the_same_share_of_every_layer(pretrained):
    run, before, _ = updated(pretrained["element-0.5"], Branch(2, "final", "uniform", 0.9, False))
    for name, mask in before.items():
        num = int(mask.sum())
        assert run.sparsifier.num_active[name] == num - math.ceil(0.9 * num - 1e-9)


@pytest.mark.parametrize("scope", ["global", "uniform"])
def test_regeneration_brings_the_pruned_count_back_layer_by_layer_at_zero(pretrained, scope):
    run, before, moved = updated(pretrained["element-0.5"], Branch(2, "final", scope, 0.9, True))
    for name, mask in run.sparsifier.masks.items():
        assert int(mask.sum()) == int(before[name].sum())
        weight = run.model.get_parameter(name).detach()
        survived = weight != 0
        assert torch.equal(weight[survived], moved[name][survived])
        assert (~survived & mask).any()  # regrown, from zero
    optimizer = run.optimizer.state[run.model.get_parameter("conv1.weight")]["momentum_buffer"]
    assert ((optimizer != 0) <= (run.model.get_parameter("conv1.weight") != 0)).all()


@pytest.mark.parametrize("regenerated", [False, True])
def test_whole_filters_go_with_their_batchnorm_and_their_readers(pretrained, regenerated):
    source = pretrained["filter-0.5"]
    run, before, moved = updated(source, Branch(2, "final", "uniform", 0.5, regenerated))
    unit = run.sparsifier.method.granularity
    old, new = unit.group(before), unit.group(run.sparsifier.masks)
    for name, channels in old.items():
        num = int(channels.sum())
        assert num == {8: 4, 16: 8, 32: 16}[len(channels)]
        assert int(new[name].sum()) == (num if regenerated else num - math.ceil(num / 2))
    # block layer2.0: conv1 -> bn1 -> conv2
    gone = ~new["layer2.0.conv1.weight"]
    block: Any = run.model.get_submodule("layer2.0")
    assert gone.any() and not gone.all()
    assert (block.conv1.weight[gone] == 0).all()
    assert (block.bn1.weight[gone] == 0).all() and (block.bn1.bias[gone] == 0).all()
    assert (block.conv2.weight[:, gone] == 0).all()
    if (
        regenerated
    ):  # a filter that comes back starts at zero, but BatchNorm and the next layer still let it through
        zero = (block.conv1.weight.flatten(1) == 0).all(1) & ~gone
        assert zero.any()
        assert torch.equal(block.bn1.weight[zero], moved["layer2.0.bn1.weight"][zero])
        assert (block.conv2.weight[:, zero] != 0).any()


def test_channels_of_pruned_filters_stay_exactly_zero(pretrained, tmp_path):
    source = pretrained["filter-0.5"]
    source.measure(Branch(1, "final", "uniform", 0.5, False), tmp_path)
    block: Any = source.run.model.get_submodule("layer2.0")
    outputs = []
    handle = block.bn1.register_forward_hook(lambda module, args, output: outputs.append(output))
    try:
        for training in (True, False):
            source.run.model.train(training)
            source.run.model(torch.randn(8, 3, 32, 32))
    finally:
        handle.remove()
    gone = (block.conv1.weight.flatten(1) == 0).all(1)
    assert int(gone.sum()) == 12  # 16 filters, 8 pre-trained, half of them pruned
    for output in outputs:
        assert (output[:, gone] == 0).all()
        assert (output[:, ~gone] != 0).any()


def test_the_last_filter_of_a_layer_stays(pretrained):
    run, _, _ = updated(pretrained["filter-0.5"], Branch(2, "final", "uniform", 0.99, False))
    units = run.sparsifier.method.granularity.group(run.sparsifier.masks)
    assert {int(channels.sum()) for channels in units.values()} == {1}


@pytest.mark.parametrize(
    ("network", "regenerated"), [("element-0.5", True), ("filter-0.5", False), ("filter-0.5", True)]
)
def test_layers_that_were_not_chosen_stay_dense_and_are_not_pruned(digits, tmp_path, network, regenerated):
    """The first layer's filters are coupled with those whose outputs are added to its own: these stay as well."""
    config = TrainConfig(epochs=EPOCHS, batch_size=50, precision="fp32", exclude=["conv1", "layer2.0.conv1"])
    source = Pretrained(digits, network, tmp_path, config)
    row = source.measure(Branch(1, "final", "uniform", 0.5, regenerated), tmp_path / "branch")
    masks, before = source.run.sparsifier.masks, source.history[0]["sparsity"]
    for name in ("conv1.weight", "layer2.0.conv1.weight"):
        assert name not in masks and source.run.model.get_parameter(name).all()
    assert 0 < masks["layer1.0.conv2.weight"].float().mean() < 1
    assert masks["layer1.0.conv2.weight"].flatten(1).any(1).all()
    assert row["sparsity"] == before if regenerated else 1 > row["sparsity"] > before


@pytest.mark.parametrize("kernels", ["dense", "sparse", "auto"])
def test_a_branch_computes_and_grows_by_its_own_masks_on_any_kernels(digits, tmp_path, kernels):
    """On the sparse ones inactive weights had no gradient once, by the masks before: what was dropped grew again."""
    config = TrainConfig(epochs=EPOCHS, batch_size=50, precision="fp32", kernels=kernels)
    source = Pretrained(digits, "element-0.9", tmp_path / "run", config)
    before = {name: mask.clone() for name, mask in source.run.sparsifier.masks.items()}
    branch = Branch(1, "plasticity", "global", 0.5, True)
    end = leave(source.run, branch, 1)
    state, folder = copy.deepcopy(source.states[1]), tmp_path / "branch"
    fit(end, history_csv=folder / "history.csv", checkpoint_path=folder / "last.pt", start=state)
    masks = end.sparsifier.masks
    num_new = sum(int((mask & ~before[name]).sum()) for name, mask in masks.items())
    assert num_new > 0.3 * sum(int(mask.sum()) for mask in before.values())
    moved = [end.model.get_parameter(name)[mask & ~before[name]] for name, mask in masks.items()]
    assert float(torch.cat(moved).ne(0).float().mean()) > 0.9  # and they learn


def test_filters_need_a_layer_that_was_chosen(digits):
    with pytest.raises(UserError, match=r"network=.filter-0\.5.: no filter is in a chosen layer"):
        make_run(digits, "filter-0.5", TrainConfig(epochs=EPOCHS, batch_size=50, include=["conv1"]))


class StopError(Exception):
    """Stands for Ctrl-C at an inconvenient moment."""


@pytest.mark.parametrize(("network", "scope", "regenerated"), WAYS)
def test_an_interrupted_branch_goes_on_to_a_bit_identical_end(
    pretrained, tmp_path, network, scope, regenerated
):
    source, branch = pretrained[network], Branch(1, "final", scope, 0.5, regenerated)
    whole = source.measure(branch, tmp_path / "whole")
    end = copy.deepcopy(source.run.model.state_dict())

    def interrupt(row):
        if row["epoch"] == 2:
            raise StopError

    with pytest.raises(StopError):
        source.measure(branch, tmp_path / "again", on_epoch=interrupt)
    again = source.measure(branch, tmp_path / "again")
    assert same(source.run.model.state_dict(), end)
    assert again | {"time_s": 0} == whole | {"time_s": 0}


def test_branches_leave_the_checkpoint_as_it_was(pretrained, tmp_path):
    source = pretrained["element-0.5"]
    before = copy.deepcopy(source.states[2])
    source.measure(Branch(2, "final", "global", 0.9, True), tmp_path)
    after = source.states[2]
    assert same(before["model"], after["model"]) and before["history"] == after["history"]
    for key, state in before["optimizer"]["state"].items():
        assert torch.equal(state["momentum_buffer"], after["optimizer"]["state"][key]["momentum_buffer"])


def test_a_branch_that_diverges_is_a_row_without_a_result(pretrained, tmp_path):
    broken = copy.copy(pretrained["element-0.0"])
    broken.states = {1: copy.deepcopy(broken.states[1])}
    broken.states[1]["model"]["fc.bias"][0] = math.nan
    row = broken.measure(Branch(1, "plasticity", "global", 0.5, False), tmp_path)
    assert row["after"] is None and row["change"] is None


def test_only_the_last_epoch_of_a_branch_is_evaluated(pretrained, tmp_path):
    rows = []
    pretrained["element-0.0"].measure(
        Branch(1, "final", "global", 0.5, False), tmp_path, on_epoch=rows.append
    )
    assert ["test_accuracy" in row for row in rows] == [False, False, True]


def test_a_network_without_sparsity_is_the_dense_run(digits, pretrained, tmp_path):
    data = open_data(digits, loader="resident", batch_size=50, seed=0, num_workers=0, device=CPU)
    torch.manual_seed(0)
    model = build("resnet20", num_classes=data.num_classes, width=8)
    run = prepare_run("dense", model, METHODS["dense"](), data, CONFIG, seed=0, device=CPU)
    fit(run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")
    for network in ("element-0.0", "filter-0.0"):
        assert same(run.model.state_dict(), pretrained[network].end)
