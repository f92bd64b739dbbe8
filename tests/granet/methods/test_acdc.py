"""AC/DC: phases as in the released settings, what begins with each of them, and what they cost."""

from itertools import pairwise

import torch

from granet import METHODS, Sparsifier
from granet.flops import training_flops
from granet.sparsifier.clock import Clock
from granet.training.loop import fit
from tests.granet.test_methods import Net, train
from tests.helpers.training import make_run


def phases(total, **values):
    """Epochs at which the wanted sparsity changes, and to what."""
    clock = Clock(METHODS["acdc"](sf=0.9, **values), total)
    targets = [clock.target(epoch) for epoch in range(total + 1)]
    changes = [(epoch, now) for epoch, (last, now) in enumerate(pairwise(targets), 1) if now != last]
    assert all(clock.updates_at(epoch) for epoch, _ in changes)
    assert [epoch for epoch in range(1, total + 1) if clock.opens_at(epoch) and clock.updates_at(epoch)] == [
        epoch for epoch, now in changes if now == 0
    ]
    assert clock.last_pruning_step == changes[-1][0]
    return [epoch for epoch, _ in changes]


def test_phases_are_those_of_resnet50_on_imagenet():
    assert phases(100, update_interval=5) == [*range(10, 80, 5), 85]


def test_a_warm_up_is_rounded_up_and_the_last_dense_phase_may_be_as_long_as_the_others():
    assert phases(200, update_interval=20, t0=10, tf=180, num_last_dense=1) == list(range(20, 200, 20))


def test_a_dense_phase_begins_with_zeros_and_an_optimizer_that_starts_afresh():
    torch.manual_seed(0)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    method = METHODS["acdc"](sf=0.9, update_interval=4)
    sparsifier = Sparsifier(model, optimizer, method, seed=0, total_steps=40)
    train(model, optimizer, sparsifier, range(1, 8))
    sizes = {
        name: weight.detach().clone() for name, weight in model.named_parameters() if name in sparsifier.masks
    }
    pruned = {name: ~mask for name, mask in sparsifier.masks.items()}
    assert round(0.9 * 2212) == sum(int(mask.sum()) for mask in pruned.values())
    assert all((sizes[name][mask] == 0).all() for name, mask in pruned.items())
    train(model, optimizer, sparsifier, [8])
    assert sparsifier.sparsity == 0.0
    assert all((model.get_parameter(name)[mask] == 0).all() for name, mask in pruned.items())
    assert not optimizer.state
    train(model, optimizer, sparsifier, [9])
    grown = sum(int((model.get_parameter(name)[mask] != 0).sum()) for name, mask in pruned.items())
    assert grown > 500  # of 1,991


def test_flops_are_counted_by_phase(digits, tmp_path):
    """Four steps an epoch, of 64, 64, 64 and 8 images; a phase lasts two: dense, sparse, dense, sparse to the end."""
    run = make_run(
        digits, method=METHODS["acdc"](sf=0.9, update_interval=2, t0=2, tf=6, num_last_dense=1), epochs=2
    )
    forward, step = [], run.sparsifier.after_step

    def after_step():
        forward.append(run.inference_flops)
        step()

    run.sparsifier.after_step = after_step
    history = fit(run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")
    dense, sparse = run.dense.total, [forward[2], forward[6]]
    assert forward == [dense, dense, sparse[0], sparse[0], dense, dense, sparse[1], sparse[1]]
    assert max(sparse) < 0.7 * dense
    images = [64, 64, 64, 8, 64, 64, 64, 8]
    segments = [(number, flops, False) for number, flops in zip(images, forward, strict=True)]
    assert history[-1]["train_flops"] == training_flops(segments, dense)


def test_the_first_dense_phase_is_a_whole_one_without_a_warm_up():
    assert phases(40, update_interval=4, t0=0, tf=32, num_last_dense=1) == phases(
        40, update_interval=4, t0=1, tf=32, num_last_dense=1
    )
