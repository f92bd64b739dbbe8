"""Channels that go for good (Chase): which, when, that they stay away, and that cutting them out changes nothing."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from granet import METHODS, Sparsifier, UserError
from granet.common.granularity import ChannelGroup
from granet.deploy.shrink import shrink
from granet.maskable import maskable_weights
from granet.method import ChannelPrune
from granet.sparsifier.channels import whole
from granet.sparsifier.clock import Clock
from granet.sparsifier.coupling import channel_groups
from tests.helpers.loops import turn

STEPS, INTERVAL = 16, 2
SIDE = (
    ChannelGroup("a.weight", 4, ("a.weight",), ("b.weight",), (), ()),
    ChannelGroup("b.weight", 3, ("b.weight",), ("fc.weight",), (), ()),
)
SHAPES = {"a.weight": (4, 2), "b.weight": (3, 4), "fc.weight": (2, 3)}
MASKS = {name: torch.ones(shape, dtype=torch.bool) for name, shape in SHAPES.items()}
SCORES = {  # the means of a's filters are 1, 5, 2, 2, of b's 3, 0.5 and 4
    "a.weight": torch.tensor([[0.0, 2.0], [5.0, 5.0], [2.0, 2.0], [1.0, 3.0]]),
    "b.weight": torch.tensor([[3.0] * 4, [0.0, 0.0, 2.0, 0.0], [4.0] * 4]),
    "fc.weight": torch.zeros(2, 3),
}


def removed(channels):
    return {name: (~alive).nonzero().flatten().tolist() for name, alive in channels.alive.items()}


@pytest.mark.parametrize(
    ("share", "expected"),
    [  # of 7 channels
        (0.0, {"a.weight": [], "b.weight": []}),
        (2 / 7, {"a.weight": [0], "b.weight": [1]}),
        (3 / 7, {"a.weight": [0, 2], "b.weight": [1]}),  # a tie: the lower place goes
        (0.99, {"a.weight": [0, 2, 3], "b.weight": [0, 1]}),  # one of every place stays
    ],
)
def test_those_of_the_lowest_mean_magnitude_go_whatever_their_place(share, expected):
    phase = ChannelPrune(0.9, 1.0)
    assert removed(whole(SIDE, SHAPES).without(phase, share, SCORES, MASKS, 0)) == expected


def test_a_mean_is_over_what_is_left_of_a_filter():
    """Without a's first channel b's second filter has a mean of 2 / 3 instead of 0.5; more goes by that."""
    channels = whole(SIDE, SHAPES).without(
        ChannelPrune(0.9, 1.0), 1 / 7, SCORES | {"b.weight": 9 * torch.ones(3, 4)}, MASKS, 0
    )
    assert removed(channels) == {"a.weight": [0], "b.weight": []}
    means = channels._means(SCORES, MASKS)
    assert means["b.weight"].tolist() == pytest.approx([4.0, 2 / 3, 16 / 3])


def test_every_place_keeps_its_floor():
    phase = ChannelPrune(0.0, 1.0, floor=0.8)  # 3 of 4, 2 of 3
    channels = whole(SIDE, SHAPES).without(phase, 0.9, SCORES, MASKS, 0)
    assert removed(channels) == {"a.weight": [0], "b.weight": [1]}


@pytest.mark.parametrize(("num_active", "num_removed"), [(26, 0), (21, 0), (20, 1), (16, 2), (13, 2), (8, 4)])
def test_no_more_go_than_leave_room_for_the_active_weights(num_active, num_removed):
    """Of 8 + 12 + 6 weights 8 + 8 + 4 are left without one of b's filters, 6 + 6 + 4 without one of a's as well."""
    channels = whole(SIDE, SHAPES).without(ChannelPrune(0.9, 1.0), 4 / 7, SCORES, MASKS, num_active)
    room = sum(int(mask.sum()) for mask in channels.room(MASKS).values())
    assert room >= num_active
    assert room == channels._size()
    assert channels.num_removed == num_removed


class Net(nn.Module):
    """A residual block between two convolutions: its sum couples what the stem and its second layer make."""

    def __init__(self, width=16):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, width, 3), nn.BatchNorm2d(width)
        self.a, self.norm_a = nn.Conv2d(width, 2 * width, 3, padding=1, bias=False), nn.BatchNorm2d(2 * width)
        self.b, self.norm_b = nn.Conv2d(2 * width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.c, self.norm_c = nn.Conv2d(width, 2 * width, 3, bias=False), nn.BatchNorm2d(2 * width)
        self.fc = nn.Linear(2 * width, 10)

    def forward(self, x):
        x = self.norm(self.stem(x)).relu()
        x = (x + self.norm_b(self.b(self.norm_a(self.a(x)).relu()))).relu()
        return self.fc(self.norm_c(self.c(x)).relu().mean((2, 3)))


def make(method, dtype=torch.float32):
    torch.manual_seed(0)
    model = Net().to(dtype)
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    return model, optimizer, Sparsifier(model, optimizer, method, seed=0, total_steps=STEPS)


def chase(**values):
    return METHODS["chase"](**{"sf": 0.9, "update_interval": INTERVAL} | values)


def train(model, optimizer, sparsifier, steps, after=lambda step: None):
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        images = torch.randn(8, 3, 8, 8, generator=generator).to(next(model.parameters()).dtype)
        labels = torch.randint(10, (8,), generator=generator)
        turn(nn.functional.cross_entropy(model(images), labels), optimizer, sparsifier)
        after(step)


def alive(sparsifier):
    return sparsifier.state_dict()["channels"]["alive"]


def test_channels_follow_the_schedule_and_stay_away_exactly_zero():
    model, optimizer, sparsifier = make(chase(channel_floor=0.0))
    groups = channel_groups(model)
    total = sum(group.size for group in groups)
    share = Clock(sparsifier.method, STEPS).removed
    gone: dict = {group.name: torch.zeros(group.size, dtype=torch.bool) for group in groups}

    def check(step):
        now = {name: ~mask for name, mask in alive(sparsifier).items()}
        assert all((now[name] | ~gone[name]).all() for name in now)
        gone.update(now)
        assert sum(int(mask.sum()) for mask in now.values()) == round(share(step - step % INTERVAL) * total)
        momentum = {name: optimizer.state[p]["momentum_buffer"] for name, p in model.named_parameters()}
        for group in groups:
            for tensors in (dict(model.named_parameters()), sparsifier.masks, momentum):
                for name in group.outputs:
                    assert not tensors[name][now[group.name]].any()
                for name in group.inputs:
                    assert not tensors[name][:, now[group.name]].any()
            for name in group.vectors:
                assert not model.get_parameter(name)[now[group.name]].any()
                assert not momentum[name][now[group.name]].any()

    train(model, optimizer, sparsifier, range(1, STEPS + 1), check)
    assert (share(12), share(13)) == (0.5, 0.5)  # 0.8125 of 16 steps
    assert sparsifier.sparsity == pytest.approx(0.9, abs=1e-4)
    smaller = shrink(model.eval(), sparsifier.masks)
    assert sum(group.size for group in channel_groups(smaller)) <= total - round(0.5 * total)


def test_without_channels_to_remove_it_is_granet_bit_for_bit():
    networks = []
    for method in (chase(channel_sparsity=0.0), METHODS["granet"](sf=0.9, si=0.5, update_interval=INTERVAL)):
        model, optimizer, sparsifier = make(method)
        train(model, optimizer, sparsifier, range(1, STEPS + 1))
        networks.append([*model.state_dict().values(), *sparsifier.masks.values()])
    assert all(map(torch.equal, *networks))


def differences(masked, shrunk):
    """The largest between the parameters of two networks."""
    pairs = zip(masked.parameters(), shrunk.parameters(), strict=True)
    return max(float((a - b).detach().abs().max()) for a, b in pairs)


@pytest.mark.parametrize("si", [0.5, 0.0])
def test_cutting_channels_out_changes_nothing_but_the_shapes(si):
    """In fp64; in fp32 a difference of rounding becomes one of a mask sooner or later. That is the next test."""
    model, optimizer, sparsifier = make(chase(si=si), torch.float64)
    train(model, optimizer, sparsifier, range(1, STEPS + 1))
    small, its_optimizer, other = make(chase(si=si), torch.float64)
    size = sum(p.numel() for p in small.parameters())
    parameters = list(small.parameters())
    train(small, its_optimizer, other, range(1, STEPS + 1), lambda step: other.shrink())
    assert sum(p.numel() for p in parameters) < 0.5 * size
    assert all(a is b for a, b in zip(parameters, small.parameters(), strict=True))
    assert other.layer_sparsity == sparsifier.layer_sparsity  # of the whole network
    images = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    outputs = small.eval()(images)
    other.finish()
    torch.testing.assert_close(small(images), outputs, rtol=0, atol=1e-12)
    torch.testing.assert_close(model.eval()(images), outputs, rtol=0, atol=1e-9)
    assert all(torch.equal(mask, other.masks[name]) for name, mask in sparsifier.masks.items())
    assert differences(model, small) < 1e-10
    assert [v.shape for v in small.state_dict().values()] == [v.shape for v in model.state_dict().values()]
    for a, b in zip(model.parameters(), small.parameters(), strict=True):
        one, two = (o.state[p]["momentum_buffer"] for o, p in ((optimizer, a), (its_optimizer, b)))
        torch.testing.assert_close(one, two, rtol=0, atol=1e-10)


def test_in_fp32_the_first_steps_agree_to_rounding():
    networks = []
    for cuts in (False, True):
        model, optimizer, sparsifier = make(chase(channels_until=0.25))
        after = (lambda step, of=sparsifier: of.shrink()) if cuts else (lambda step: None)
        train(model, optimizer, sparsifier, range(1, 6), after)
        sparsifier.finish()
        networks.append((model, sparsifier))
    (masked, one), (shrunk, two) = networks
    assert differences(masked, shrunk) < 1e-5
    assert all(torch.equal(mask, two.masks[name]) for name, mask in one.masks.items())


@pytest.mark.parametrize("stop", [5, 6])
def test_a_shrunken_run_resumes_bit_for_bit(stop):
    straight = make(chase())
    train(*straight, range(1, STEPS + 1), lambda step: straight[2].shrink() if step % 4 == 0 else None)
    model, optimizer, sparsifier = first = make(chase())
    train(*first, range(1, stop + 1), lambda step: sparsifier.shrink() if step % 4 == 0 else None)
    saved = copy.deepcopy((model.state_dict(), optimizer.state_dict(), sparsifier.state_dict()))

    model, optimizer, sparsifier = resumed = make(chase())
    sparsifier.shrink(saved[2])
    model.load_state_dict(saved[0])
    optimizer.load_state_dict(saved[1])
    sparsifier.load_state_dict(saved[2])
    train(*resumed, range(stop + 1, STEPS + 1), lambda step: sparsifier.shrink() if step % 4 == 0 else None)
    straight[2].finish()
    sparsifier.finish()
    assert all(map(torch.equal, straight[0].state_dict().values(), model.state_dict().values()))
    assert all(map(torch.equal, straight[2].masks.values(), sparsifier.masks.values()))


def test_a_loss_that_is_still_there_does_not_disturb_the_next_step():
    """Autograd's node of a parameter knows the old shape as long as a graph holds on to it."""
    model, optimizer, sparsifier = make(chase())
    kept = []
    for _ in range(4):
        loss = model(torch.randn(4, 3, 8, 8)).logsumexp(1).sum()
        turn(loss, optimizer, sparsifier)
        kept.append(loss)
        sparsifier.shrink()
    assert sum(p.numel() for p in model.parameters()) < sum(p.numel() for p in make(chase())[0].parameters())


def test_channels_of_frozen_layers_stay():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3)]
    model: Any = nn.Sequential(*layers, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    model[0].weight.requires_grad_(False)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    with pytest.warns(UserWarning, match="of the weights stay dense"):
        sparsifier = Sparsifier(model, optimizer, chase(), seed=0, total_steps=STEPS)
    train(model, optimizer, sparsifier, range(1, STEPS + 1))
    assert alive(sparsifier).keys() == {"2.weight", "4.weight"}
    assert set(maskable_weights(model)) == set(sparsifier.masks)


def test_a_schedule_without_an_update_is_refused():
    with pytest.raises(
        UserError, match=r"no mask update falls before step 2, channels_until=0\.1 of the run"
    ):
        Clock(chase(update_interval=4, channels_until=0.1), STEPS)


def test_a_state_of_another_network_or_method_is_refused():
    wide = Net(32)
    optimizer = torch.optim.SGD(wide.parameters(), 0.1)
    larger = Sparsifier(wide, optimizer, chase(), seed=0, total_steps=STEPS).state_dict()
    for state in (larger, make(METHODS["rigl"](sf=0.9, update_interval=2))[2].state_dict()):
        with pytest.raises(UserError, match=r"channels: this state .* differing ones: stem\.weight"):
            make(chase())[2].shrink(state)


def test_no_channel_goes_after_the_last_step_for_them():
    """At step 4 many weights are active yet, so that fewer channels go than wanted; the others stay."""
    model, optimizer, sparsifier = make(
        chase(si=0.0, channel_sparsity=0.8, channel_floor=0.0, channels_until=0.25)
    )
    numbers = []

    def count(step):
        numbers.append(sum(int((~mask).sum()) for mask in alive(sparsifier).values()))

    train(model, optimizer, sparsifier, range(1, STEPS + 1), count)
    total = sum(group.size for group in channel_groups(model))
    assert 0 < numbers[3] < round(0.8 * total)
    assert set(numbers[3:]) == {numbers[3]}
    assert sparsifier.sparsity == pytest.approx(0.9, abs=1e-4)


def test_a_layer_of_groups_keeps_its_number_of_inputs():
    model = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Flatten(), nn.LazyLinear(2))
    model(torch.zeros(1, 4, 8, 8))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    sparsifier = Sparsifier(
        model, optimizer, METHODS["rigl"](sf=0.5, update_interval=1), seed=0, total_steps=4
    )
    sparsifier.shrink()
    sparsifier.finish()
    assert repr(model[1]) == "Conv2d(8, 8, kernel_size=(3, 3), stride=(1, 1), groups=8)"
