"""One table drives one behavioural suite over every method."""

import copy
import inspect
from math import prod
from typing import get_type_hints

import pytest
import torch
from torch import nn

from granet import METHODS, Sparsifier, UserError
from granet.common.keys import Key
from granet.distributions import budget
from granet.maskable import maskable_weights
from granet.methods.dsr import elsewhere
from granet.sparsifier.clock import Clock
from granet.types import Snapshot

STEPS, INTERVAL = 40, 4
EVERY = {"update_interval": INTERVAL}
TABLE: dict[str, dict] = {  # hyper-parameters with which each method reaches sparsity 0.9 within 40 steps
    "dense": {},
    "static": {},
    "static uniform": {"distribution": "uniform"},
    "static er": {"distribution": "er"},
    "small_dense": {},
    "snip": {"num_images": 32},
    "iter_snip": {"rounds": 5, "num_images": 32},
    "force": {"rounds": 5, "num_images": 32},
    "grasp": {"images_per_class": 3},
    "synflow": {"rounds": 5},
    "snip uniform": {"num_images": 32, "distribution": "uniform"},
    "set": EVERY,
    "set mest": EVERY | {"drop_criterion": "mest"},
    "set classifier": EVERY
    | {"distribution": "uniform", "dense_layers": "classifier", "regenerate_until": 0.5},
    "deep_r": EVERY | {"noise": 0.1},  # signs must flip within 40 steps
    "dsr": EVERY,
    "snfs": EVERY,
    "snfs preserve": EVERY | {"reallocate": "preserve", "regenerate_until": 0.5},
    "rigl": EVERY,
    "rigl sensitivity": EVERY | {"drop_criterion": "sensitivity"},
    "mest": EVERY | {"dense_layers": "none"},
    "mest soft": EVERY | {"soft_bound": 0.05},
    "topkast": EVERY | {"dense_layers": "none"},
    "gse": EVERY,
    "cht": EVERY,
    "rigl stops": EVERY | {"regenerate_until": 0.5},
    "rigl_nm": EVERY | {"sf": 0.75, "drop_fraction_final": 0.5},
    "srigl": EVERY | {"gamma_sal": 0.0, "regenerate_until": 1.0, "drop_fraction_final": 0.3},
    "srigl ablates": EVERY | {"gamma_sal": 0.9, "regenerate_until": 1.0, "drop_fraction_final": 0.3},
    "gmp": EVERY,
    "gmp uniform": EVERY | {"distribution": "uniform"},
    "gmp_original": EVERY,
    "gmp_star": EVERY,
    "acdc": EVERY,
    "str": EVERY,
    "dpf": EVERY,
    "dpf classifier": EVERY | {"dense_layers": "classifier"},
    "sr_ste": EVERY | {"sf": 0.75},
    "granet": EVERY,
    "granet si=0.5": EVERY | {"si": 0.5},
    "granet until tf": EVERY | {"regenerate_until": "tf"},
    "granet uniform": EVERY | {"distribution": "uniform"},
    "chase": EVERY,
    "chase si=0.9": EVERY | {"si": 0.9},
    "one_shot": {},
    "obd": {"num_images": 32},
    "imp": {"prune_fraction": 0.7},  # two rounds of 20 steps
    "imp lr": {"prune_fraction": 0.7, "rewind": "lr"},
    "imp late": {"prune_fraction": 0.7, "rewind": 4},  # 16 steps, then twice 12
    "bimp": {"rounds": 2},
    "sis": {"num_images": 32},
}
SPARSE = [name for name in TABLE if name != "dense"]
REGENERATING = [
    name
    for name in TABLE
    if name.split()[0]
    in (
        *("granet", "chase", "rigl", "rigl_nm", "srigl", "set", "deep_r", "dsr"),
        *("mest", "gse", "cht"),
    )
]
AFRESH = {
    "imp": (20,),
    "imp lr": (20,),
    "imp late": (16, 28),
    "bimp": (20,),
    "acdc": (8, 16, 24),
}  # steps after which the optimizer starts anew
VALUES_KEPT = (  # masked weights stay in memory
    *("gmp_original", "str", "dpf", "dpf classifier", "sr_ste", "topkast"),
)
COUNTS = {  # where the structure decides how many of 2,212 weights are active
    "small_dense": (
        3 * 27,
        3 * 3 * 9,
        10 * 3,
    ),  # 3 and 3 channels; 3 and 4 would make 229 weights, too many for 221
    "rigl_nm": (324, 1728 // 4, 160 // 4),  # 4 does not divide 3 inputs
    "sr_ste": (324, 1728 // 4, 160),  # and its classifier is dense
    "srigl": (12 * 4, 16 * 6, 10 * 7),  # whole fan-ins, of ERK's 4.8, 5.8 and 7.1
    "srigl ablates": (12 * 4, 16 * 6, 10 * 7),  # at most: 96 weights make no whole fan-in of 11 neurons
}
FIRST_MATTERS = (
    "small_dense",
    "gmp_original",
    "dsr",
    "mest soft",
)  # methods that treat the first layer in a way of its own


def make_method(name):
    return METHODS[name.split()[0]](**({"sf": 0.9} if name != "dense" else {}) | TABLE[name])


def training_images():
    return (batch(number) for number in range(20))


def used_weights(model, sparsifier):
    """What the forward makes of the maskable weights."""
    layers = {key: model.get_submodule(key.removesuffix(".weight")) for key in sparsifier.masks}
    return {key: getattr(layer, "weight") for key, layer in layers.items()}  # noqa: B009 (not a Module, for pyright)


class Net(nn.Module):
    """Two convolutions, BatchNorm and a linear layer with bias: 12 * 27 + 16 * 108 + 10 * 16 = 2,212 maskable."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 12, 3, bias=False)
        self.bn = nn.BatchNorm2d(12)
        self.b = nn.Conv2d(12, 16, 3)
        self.fc = nn.Linear(16, 10)

    def forward(self, x):
        x = self.b(self.bn(self.a(x)).relu()).relu()
        return self.fc(x.mean((2, 3)))


def batch(step):
    generator = torch.Generator().manual_seed(step)
    return torch.randn(8, 3, 8, 8, generator=generator), torch.randint(10, (8,), generator=generator)


def make(name, optimizer="sgd", seed=0):
    torch.manual_seed(seed)
    model = Net()
    make_optimizer = {
        "sgd": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, nesterov=True, weight_decay=5e-4),
        "adamw": lambda p: torch.optim.AdamW(p, 0.01),
    }[optimizer]
    opt = make_optimizer(model.parameters())
    return model, opt, make_sparsifier(model, opt, name, seed)


def make_sparsifier(model, opt, name, seed=0):
    return Sparsifier(
        model,
        opt,
        make_method(name),
        seed=seed,
        total_steps=STEPS,
        batches=training_images,
        rewind_to=copy.deepcopy(model.state_dict()),
    )


def train(model, opt, sparsifier, steps, after=lambda step: None):
    for step in steps:
        images, labels = batch(step)
        nn.functional.cross_entropy(model(images), labels).backward()
        sparsifier.after_backward()
        opt.step()
        sparsifier.after_step()
        after(step)
        opt.zero_grad(set_to_none=True)


def test_the_table_names_every_method():
    assert {name.split()[0] for name in TABLE} == set(METHODS)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("name", TABLE)
def test_inactive_weights_gradients_and_state_are_exactly_zero_after_every_step(name, optimizer):
    model, opt, sparsifier = make(name, optimizer)
    weights = maskable_weights(model)
    if name in VALUES_KEPT:
        weights = {}

    def check(step):
        for key, weight in used_weights(model, sparsifier).items():
            assert weight[~sparsifier.masks[key]].abs().sum() == 0, (key, step)
        for key, mask in sparsifier.masks.items() if weights else ():
            weight, off = weights[key], ~mask
            state = [v for v in opt.state[weight].values() if v.shape == weight.shape]
            assert len(state) >= 1 or step in AFRESH.get(name, ())
            if name.startswith("snfs"):  # its momentum stays dense
                assert state[0][off].abs().sum() > 0
            else:
                for value in (weight.grad, *state):
                    assert value[off].abs().sum() == 0, (key, step)

    train(model, opt, sparsifier, range(1, STEPS + 1), check)


@pytest.mark.parametrize("name", SPARSE)
def test_active_weights_are_exactly_the_schedules_after_every_update(name):
    model, opt, sparsifier = make(name)
    method = make_method(name)
    clock = Clock(method, STEPS)
    shapes = {key: tuple(mask.shape) for key, mask in sparsifier.masks.items()}

    def check(step):
        update = next((done for done in range(step, 0, -1) if clock.updates_at(done)), 0)
        target = clock.target(update) if method.prune else 0.9
        active = {key: int(mask.sum()) for key, mask in sparsifier.masks.items()}
        zeros = sparsifier.num_active  # with STR weights fall below their threshold between updates
        assert all(
            zeros[key] <= count if name == "str" else zeros[key] == count for key, count in active.items()
        )
        if name in COUNTS:
            pairs = zip(active.values(), COUNTS[name], strict=True)
            assert all(n <= most if name == "srigl ablates" else n == most for n, most in pairs)
        else:
            assert sum(active.values()) == budget(shapes, target)

    train(model, opt, sparsifier, range(1, STEPS + 1), check)
    if name not in COUNTS:
        assert sum(sparsifier.num_active.values()) == 221  # round(0.1 * 2,212)
        assert sparsifier.sparsity == pytest.approx(0.9, abs=1e-3)


@pytest.mark.parametrize(
    "name",
    [
        *("rigl", "rigl_nm", "set", "set classifier", "set mest", "mest", "gse", "cht"),
        *("snfs preserve", "static", "deep_r"),
    ],
)
def test_sparse_to_sparse_methods_keep_every_tensors_count(name):
    model, opt, sparsifier = make(name)
    before = sparsifier.num_active
    train(model, opt, sparsifier, range(1, STEPS + 1))
    assert sparsifier.num_active == before


@pytest.mark.parametrize("name", TABLE)
def test_masks_change_on_update_steps_only(name):
    model, opt, sparsifier = make(name)
    changed = []
    previous = copy.deepcopy(sparsifier.masks)

    def check(step):
        if any(not torch.equal(previous[key], mask) for key, mask in sparsifier.masks.items()):
            changed.append(step)
        for key, mask in sparsifier.masks.items():
            previous[key].copy_(mask)

    train(model, opt, sparsifier, range(1, STEPS + 1), check)
    assert all(step % INTERVAL == 0 for step in changed)
    ends = {  # auto tf = 0.6875 * 40 = 27.5, rounded
        **dict.fromkeys(("gmp", "gmp uniform", "gmp_original", "granet until tf"), 28),
        **dict.fromkeys(("rigl stops", "set classifier", "snfs preserve", "imp", "imp lr", "bimp"), 20),
        **dict.fromkeys(("mest", "mest soft", "cht"), 28),  # 0.75 * 40 = 30
        **dict.fromkeys(("gmp_star", "acdc"), 32),  # 13/15 and 0.85 * 40 = 34, rounded
        "gse": 20,  # 0.6 * 40 = 24, where nothing is dropped any more
        "imp late": 28,
        "dsr": 32,  # to 0.95 * 40 = 38, every 4, 8, 16 and 32 steps
    }
    clock = Clock(make_method(name), STEPS)
    assert max(changed, default=0) == ends.get(name, STEPS if clock.interval else 0)


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("stop", [3, 4, 21])
def test_resuming_equals_the_straight_run_bit_for_bit(name, stop):
    straight, opt, sparsifier = make(name)
    train(straight, opt, sparsifier, range(1, STEPS + 1))

    model, opt, sparsifier2 = make(name)
    train(model, opt, sparsifier2, range(1, stop + 1))
    saved = copy.deepcopy((model.state_dict(), opt.state_dict(), sparsifier2.state_dict()))
    model, opt, sparsifier2 = make(name, seed=0)
    model.load_state_dict(saved[0])
    opt.load_state_dict(saved[1])
    sparsifier2.load_state_dict(saved[2])
    train(model, opt, sparsifier2, range(stop + 1, STEPS + 1))

    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), model.parameters(), strict=True))
    assert all(torch.equal(mask, sparsifier2.masks[key]) for key, mask in sparsifier.masks.items())


@pytest.mark.parametrize("name", [name for name in TABLE if name not in FIRST_MATTERS])
def test_the_order_of_layers_changes_nothing(name):
    """The same network with its modules registered the other way round ends with the same weights."""
    model, opt, sparsifier = make(name)
    train(model, opt, sparsifier, range(1, STEPS + 1))
    torch.manual_seed(0)
    other = Net()
    other._modules = dict(reversed(other._modules.items()))
    opt = torch.optim.SGD(other.parameters(), 0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    reordered = make_sparsifier(other, opt, name)
    train(other, opt, reordered, range(1, STEPS + 1))
    assert all(torch.equal(mask, reordered.masks[key]) for key, mask in sparsifier.masks.items())
    sparsifier.finish()
    reordered.finish()
    assert all(torch.equal(v, other.state_dict()[key]) for key, v in model.state_dict().items())


@pytest.mark.parametrize(
    "name",
    [
        *("dense", "gmp", "gmp_original", "gmp_star", "acdc", "dpf", "str", "granet"),
        *("synflow", "snip", "force", "grasp", "imp"),
    ],
)
def test_the_names_of_layers_change_nothing_where_nothing_is_drawn(name):
    model, opt, sparsifier = make(name)
    train(model, opt, sparsifier, range(1, STEPS + 1))
    torch.manual_seed(0)
    wrapped = nn.ModuleDict({"renamed": Net()})["renamed"]
    holder = nn.Sequential(wrapped)  # all parameters are now called 0.*
    opt = torch.optim.SGD(holder.parameters(), 0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    renamed = make_sparsifier(holder, opt, name)
    train(holder, opt, renamed, range(1, STEPS + 1))
    assert all(torch.equal(mask, renamed.masks[f"0.{key}"]) for key, mask in sparsifier.masks.items())


@pytest.mark.parametrize("name", REGENERATING)
def test_what_is_regrown_starts_from_zero_even_if_dropped_in_the_same_update(name):
    model, opt, sparsifier = make(name)
    weights = maskable_weights(model)
    before: dict = {}

    def check(step):
        if step % INTERVAL == 0 and step <= 28:
            for key, mask in sparsifier.masks.items():
                zeroed = mask & (weights[key] == 0)  # active, and starting from nothing
                previous = before.get(key)
                if previous is not None:
                    assert not (mask & ~previous & ~zeroed).any(), "a grown weight is not zero"
        for key, mask in sparsifier.masks.items():
            before[key] = mask.clone()

    train(model, opt, sparsifier, range(1, STEPS + 1), check)


def test_a_dense_layer_loses_the_values_of_what_it_drops_and_regrows():
    """Everything active: 3 of 6 are dropped, and the only candidates to grow are those 3 (fidelity, step 6)."""
    model = nn.Linear(6, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.1, 0.2, 0.3, 4.0, 5.0, 6.0]]))
    opt = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9)
    method = METHODS["rigl"](sf=0.0, update_interval=1, drop_fraction=0.5, drop_fraction_final=0.5)
    sparsifier = Sparsifier(model, opt, method, seed=0, total_steps=1)
    model(torch.ones(1, 6)).sum().backward()
    sparsifier.after_backward()
    opt.step()
    sparsifier.after_step()
    assert model.weight.tolist() == [[0.0, 0.0, 0.0, 4.0, 5.0, 6.0]]
    assert opt.state[model.weight]["momentum_buffer"].tolist() == [[0.0, 0.0, 0.0, 1.0, 1.0, 1.0]]
    assert sparsifier.num_active == {"weight": 6}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_projecting_gradients_equals_masking_weights_and_momentum_after_every_step(optimizer):
    """The usual way, written out: dense gradient, then weight and state times mask after every step."""
    model, opt, sparsifier = make("granet si=0.5", optimizer)
    torch.manual_seed(0)
    usual = Net()
    make_optimizer = type(opt)
    options = {k: v for k, v in opt.defaults.items() if k in ("lr", "momentum", "nesterov", "weight_decay")}
    usual_opt = make_optimizer(usual.parameters(), **options)
    shadow = maskable_weights(usual)
    with torch.no_grad():
        for key, weight in shadow.items():
            weight.mul_(sparsifier.masks[key])

    for step in range(1, STEPS + 1):
        kept = copy.deepcopy(sparsifier.masks)
        images, labels = batch(step)
        nn.functional.cross_entropy(usual(images), labels).backward()
        usual_opt.step()
        usual_opt.zero_grad()
        train(model, opt, sparsifier, [step])
        with torch.no_grad():
            for key, weight in shadow.items():
                # A weight outlives an update where it was and is active and was not reset to zero.
                kept[key] &= sparsifier.masks[key] & (maskable_weights(model)[key] != 0)
                weight.mul_(kept[key])
                for value in usual_opt.state[weight].values():
                    if value.shape == weight.shape:
                        value.mul_(kept[key])
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), usual.parameters(), strict=True)), (
            step
        )


def test_what_dsr_has_just_dropped_does_not_come_back():
    """A weight that does is active before and after its update, and starts from zero. A third is dropped."""
    model, method = Net(), METHODS["dsr"](sf=0.5, update_interval=1, threshold=0.03)
    opt = torch.optim.SGD(model.parameters(), 0.05)
    sparsifier = Sparsifier(model, opt, method, seed=0, total_steps=STEPS)
    before = copy.deepcopy(sparsifier.masks)
    train(model, opt, sparsifier, [1])
    assert sparsifier.masks["a.weight"].all()  # the first convolution
    for key in ("b.weight", "fc.weight"):
        grown = sparsifier.masks[key] & (maskable_weights(model)[key] == 0)
        assert grown.any()
        assert not (grown & before[key]).any(), key


def test_dsr_grows_elsewhere_than_where_weights_have_just_been():
    weights = {"w": torch.ones(1000)}
    before = torch.arange(1000) < 300
    scores = elsewhere(Snapshot(weights, {}, step=3, seed=0, masks={"w": before}))["w"]
    assert scores[before].max() < scores[~before].min()
    assert len(scores[~before].unique()) > 600


def test_gmp_and_granet_from_dense_differ_in_regeneration_only():
    gmp, granet = make_method("gmp"), make_method("granet")
    assert gmp.regenerate is None
    assert granet.regenerate is not None
    assert gmp.prune == granet.prune


@pytest.mark.parametrize("name", ["rigl", "set", "granet si=0.5", "static"])
def test_initial_masks_follow_erk_exactly(name):
    _, _, sparsifier = make(name)
    total = sum(prod(mask.shape) for mask in sparsifier.masks.values())
    assert sum(sparsifier.num_active.values()) == round(total * (0.5 if "0.5" in name else 0.1))


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("granet", {"sf": 0.9, "si": 0.95}, "si=0.95"),
        ("granet", {"sf": 1.0}, "sf=1.0"),
        ("gmp", {"sf": -0.5}, "sf=-0.5"),
        ("gmp", {"sf": 0.9, "update_interval": 0}, "update_interval=0"),
        ("rigl", {"sf": 0.9, "drop_fraction": 1.5}, "drop_fraction=1.5"),
        ("rigl", {"sf": 0.9, "distribution": "flat"}, "distribution='flat'"),
        ("granet", {"sf": 0.9, "regenerate_until": "never"}, "regenerate_until='never'"),
        ("static", {"sf": 1.2}, "sf=1.2"),
        ("snip", {"sf": 0.9, "num_images": 0}, "num_images=0 must be at least 1"),
        ("grasp", {"sf": 0.9, "temperature": 0.0}, "temperature=0.0"),
        ("synflow", {"sf": 0.9, "rounds": 0}, "rounds=0"),
        ("deep_r", {"sf": 0.9, "noise": -1.0}, "noise=-1.0"),
        ("dsr", {"sf": 0.9, "threshold": 0.0}, "threshold=0.0"),
        ("imp", {"sf": 0.9, "prune_fraction": 1.0}, "prune_fraction=1.0"),
        ("imp", {"sf": 0.9, "rewind": "both"}, "rewind='both' must be weights, lr or at least 0"),
        ("imp", {"sf": 0.9, "rewind": 5, "begun": 0.5}, "begun=0.5 is of a trained network"),
        ("bimp", {"sf": 0.9, "begun": 0.9}, "begun=0.9 must be below sf=0.9"),
        ("bimp", {"sf": 0.9, "schedule": "linear"}, "schedule='linear'"),
        ("gmp", {"sf": 0.9, "distribution": "flat"}, "distribution='flat'"),
    ],
)
def test_impossible_values_are_refused_by_name(name, values, message):
    with pytest.raises(UserError, match=message):
        METHODS[name](**values)


def test_a_share_of_the_run_may_be_written_as_an_int():
    whole = METHODS["rigl"](sf=0.9, regenerate_until=1)
    assert whole.regenerate == METHODS["rigl"](sf=0.9, regenerate_until=1.0).regenerate
    assert Clock(whole, 5000).updates_at(5000)


def test_every_parameter_of_every_method_says_what_it_means_and_refuses_what_is_out_of_range():
    for name, row in METHODS.items():
        hints = get_type_hints(row, include_extras=True)
        for parameter in inspect.signature(row).parameters:
            (about,) = [note for note in hints[parameter].__metadata__ if isinstance(note, Key)]
            assert about.text and about.rule, (name, parameter)
            with pytest.raises(UserError, match=f"{parameter}="):
                row(**{"sf": 0.9, parameter: "nowhere" if about.choices else -1})


@pytest.mark.parametrize(
    ("values", "message"),
    [({"tf": 41}, "tf=41 steps lies beyond the end"), ({"update_interval": 1000}, "update_interval=1000")],
)
def test_a_clock_that_does_not_fit_the_run_is_refused(values, message):
    model = Net()
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(UserError, match=message):
        Sparsifier(model, opt, METHODS["gmp"](sf=0.9, **values), seed=0, total_steps=STEPS)


@pytest.mark.parametrize("name", ["granet", "chase", "rigl", "rigl_nm", "set", "snfs"])
def test_regrown_weights_start_from_zero_or_keep_value_and_momentum(name):
    """Of weights that stay active through the first update, some are zero under ``zero``, none under ``kept``."""
    zeros = {}
    for regrown in ("zero", "kept"):
        torch.manual_seed(0)
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
        method = METHODS[name](sf=0.5, update_interval=4, drop_fraction=0.5, regrown=regrown)
        sparsifier = Sparsifier(model, optimizer, method, seed=0, total_steps=STEPS)
        train(model, optimizer, sparsifier, range(1, 4))
        before = copy.deepcopy(sparsifier.masks)
        train(model, optimizer, sparsifier, range(4, 5))
        stayed = {key: mask & before[key] for key, mask in sparsifier.masks.items()}
        zeros[regrown] = sum(int((model.get_parameter(key)[mask] == 0).sum()) for key, mask in stayed.items())
    assert zeros["zero"] > 0
    assert zeros["kept"] == 0 or name == "granet"  # whose pruning zeroes before anything is regrown
    assert zeros["kept"] < zeros["zero"]
