"""Models as people have them: every matrix is masked, or said to stay dense, or refused in one clear line."""

import copy
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parametrizations, prune

from granet import METHODS, Sparsifier, UserError
from granet.distributions import at_least, global_
from granet.flops import layer_flops
from granet.maskable import maskable_weights
from granet.methods import fixed
from tests.helpers.loops import turn

EVERY = {"update_interval": 2}
METHODS_OF_ALL_KINDS = {
    "granet": {"sf": 0.9, **EVERY},
    "rigl": {"sf": 0.9, **EVERY},
    "snfs": {"sf": 0.9, **EVERY},
    "deep_r": {"sf": 0.9},
    "one_shot": {"sf": 0.9},
    "static": {"sf": 0.9},
}


def sgd(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.01, momentum=0.9)


def static(model: nn.Module, sf: float = 0.5) -> Sparsifier:
    return Sparsifier(model, sgd(model), METHODS["static"](sf=sf), seed=0, total_steps=4)


class Tokens(nn.Module):
    """Attention and a recurrent layer over (N, T, 32)."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
        self.recurrent = nn.LSTM(32, 16, batch_first=True)
        self.cell = nn.GRUCell(16, 16)
        self.pair = nn.Bilinear(16, 16, 8)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden, _ = self.recurrent(self.attention(inputs))
        return self.pair(self.cell(hidden[:, -1]), hidden[:, 0])


def image_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 6, 3, stride=2),
        nn.Flatten(),
        nn.Linear(6 * 13 * 13, 4),
    )


@pytest.mark.parametrize("name", METHODS_OF_ALL_KINDS)
@pytest.mark.parametrize(("make", "shape"), [(Tokens, (8, 5, 32)), (image_model, (8, 3, 8, 8))])
def test_the_sparsity_is_that_of_all_matrices(make, shape, name):
    torch.manual_seed(0)
    model = make()
    optimizer = sgd(model)
    sparsifier = Sparsifier(
        model, optimizer, METHODS[name](**METHODS_OF_ALL_KINDS[name]), seed=0, total_steps=8
    )
    for _ in range(8):
        turn(model(torch.randn(shape)).square().mean(), optimizer, sparsifier)
    matrices = [p for p in model.parameters() if p.dim() > 1]
    zeros = sum(int((p == 0).sum()) for p in matrices)
    assert zeros >= round(0.9 * sum(p.numel() for p in matrices))
    assert sparsifier.sparsity == pytest.approx(0.9, abs=1e-3)


def test_every_matrix_has_its_flops():
    """Per token 2 for each weight; the Bilinear and the cell see one position; a transposed convolution each pixel.

    And the products within attention: queries and keys, then attention and values, 5 x 5 x 32 each.
    """
    layers = layer_flops(Tokens(), (5, 32))
    weights = maskable_weights(Tokens())
    assert layers.keys() == weights.keys() | {"attention.self_attn"}
    assert layers["attention.self_attn"] == 2 * 2 * 5 * 5 * 32
    once = {name for name in weights if name.startswith(("cell", "pair"))}
    for name, weight in weights.items():
        assert layers[name] == 2 * weight.numel() * (1 if name in once else 5), name
    assert layer_flops(image_model(), (3, 8, 8))["2.weight"] == 2 * 8 * 6 * 9 * 36


def test_what_stays_dense_is_said_with_its_share():
    model = nn.ModuleDict(
        {"embedding": nn.Embedding(50, 16), "norm": nn.LayerNorm((4, 16)), "head": nn.Linear(16, 50)}
    )
    with pytest.warns(UserWarning, match=r"^50% of the weights stay dense, .* embedding.weight \(800\)$"):
        static(model)


def test_frozen_layers_are_left_alone_and_named():
    frozen = nn.Linear(16, 32).requires_grad_(False)
    model = nn.Sequential(frozen, nn.ReLU(), nn.Linear(32, 4))
    before = frozen.weight.clone()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)  # that the optimizer holds them matters not
    with pytest.warns(UserWarning, match=r"80% of the weights stay dense.*0.weight \(frozen, 512\)"):
        sparsifier = Sparsifier(
            model, optimizer, METHODS["rigl"](sf=0.5, update_interval=2), seed=0, total_steps=10
        )
    for _ in range(4):
        turn(cross_entropy(model(torch.randn(8, 16)), torch.randint(4, (8,))), optimizer, sparsifier)
    assert torch.equal(frozen.weight, before)
    assert list(sparsifier.masks) == ["2.weight"]


def test_a_trained_layer_that_the_optimizer_lacks_is_told_with_the_way_out():
    model = nn.Sequential(nn.Linear(16, 32), nn.Linear(32, 4))
    optimizer = torch.optim.SGD(model[1].parameters(), 0.1)
    with pytest.raises(UserError, match=r"does not hold 0.weight; .*requires_grad_\(False\)"):
        Sparsifier(model, optimizer, METHODS["static"](sf=0.5), seed=0, total_steps=4)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    "computed",
    [
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
        parametrizations.weight_norm,
        parametrizations.spectral_norm,
        parametrizations.orthogonal,
        lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
    ],
)
def test_computed_weights_are_refused_for_what_they_are(computed):
    model = nn.Sequential(computed(nn.Linear(8, 8)), nn.Linear(8, 2))
    with pytest.raises(UserError, match=r"^0.weight is computed from other tensors \(weight_norm"):
        static(model)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Embedding(4, 4), "it has no layer to mask; use METHODS"),
        (
            lambda: nn.Linear(4, 4).requires_grad_(False),
            r"no layer to mask that is not frozen \(as weight is\)",
        ),
        (lambda: nn.LazyLinear(4), "weight has no shape yet"),
        (lambda: nn.Linear(4, 4, device="meta"), "weight has no values yet"),
        (lambda: nn.Linear(4, 4, dtype=torch.complex64), "weight is torch.complex64; masks go with real"),
    ],
)
def test_a_model_that_cannot_be_masked_is_one_line(make, message):
    model = make()
    parameters = [p for p in model.parameters() if p.requires_grad] or [nn.Parameter(torch.ones(1))]
    with warnings.catch_warnings(), pytest.raises(UserError, match=message) as error:
        warnings.simplefilter("ignore")  # torch's word on lazy layers
        Sparsifier(model, torch.optim.SGD(parameters, 0.1), METHODS["static"](sf=0.5), seed=0, total_steps=4)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["small_dense", "sis"])
def test_methods_that_go_by_outputs_and_inputs_refuse_other_layers(name):
    model = nn.Sequential(nn.Bilinear(4, 4, 4))
    inputs = [(torch.randn(8, 4), torch.zeros(8, dtype=torch.long))]
    with pytest.raises(UserError, match=r"0\.weight is of a Bilinear"):
        Sparsifier(model, sgd(model), METHODS[name](sf=0.5), seed=0, total_steps=4, batches=inputs)


def test_a_forward_of_its_own_is_refused_where_it_cannot_be_masked():
    model = nn.LSTM(4, 4)
    with pytest.raises(UserError, match=r"weight_ih_l0 is of a LSTM"):
        Sparsifier(model, sgd(model), METHODS["str"](sf=0.5, **EVERY), seed=0, total_steps=8)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({"module.weight": torch.ones(4, 4)}, "there is none for weight; the names are weight"),
        ({}, "there is none for weight"),
        ({"weight": torch.ones(4)}, r"that of weight has the shape \(4,\), and its weight is \(4, 4\)"),
        ({"weight": torch.tensor(True)}, r"that of weight has the shape \(\)"),
        (
            {"weight": torch.ones(4, 4), "more": torch.ones(1)},
            "there is one for more, which is no maskable weight",
        ),
    ],
)
def test_masks_of_another_model_are_refused(masks, message):
    model = nn.Linear(4, 4)
    with pytest.raises(UserError, match=message):
        Sparsifier(model, sgd(model), fixed(masks), seed=0, total_steps=4)


def test_a_layer_that_is_emptied_is_named_once_and_a_floor_keeps_it():
    def train(method) -> Sparsifier:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
        with torch.no_grad():
            model.get_parameter("4.weight").mul_(1e-3)
        optimizer = torch.optim.SGD(model.parameters(), 1e-3)
        sparsifier = Sparsifier(model, optimizer, method, seed=0, total_steps=12)
        for _ in range(12):
            turn(cross_entropy(model(torch.randn(8, 8)), torch.randint(2, (8,))), optimizer, sparsifier)
        return sparsifier

    method = METHODS["gmp"](sf=0.9, update_interval=2)
    with pytest.warns(UserWarning, match=r"no weight is left in 4\.weight, so nothing passes there") as said:
        emptied = train(method)
    assert len(said) == 1
    floored = train(replace(method, prune=replace(method.prune, distribution=at_least(global_, 3))))
    assert (emptied.num_active["4.weight"], floored.num_active["4.weight"]) == (0, 3)
    assert emptied.sparsity == floored.sparsity


@pytest.mark.parametrize("stop", [1, 3, 9])
def test_an_emptied_layer_is_no_news_after_a_resumption(stop):
    """One is empty from the start, one from step 4 on: each is named once, whenever the training was resumed."""

    def built() -> tuple[nn.Module, torch.optim.SGD, Sparsifier]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
        with torch.no_grad():
            model.get_parameter("4.weight").mul_(1e-3)
        masks = {
            name: torch.ones_like(model.get_parameter(name)).bool()
            for name in ("0.weight", "2.weight", "4.weight")
        }
        masks["0.weight"].zero_()
        method = replace(METHODS["gmp"](sf=0.9, update_interval=2, t0=2), init=fixed(masks).init)
        optimizer = torch.optim.SGD(model.parameters(), 1e-3)
        return model, optimizer, Sparsifier(model, optimizer, method, seed=0, total_steps=12)

    def train(model, optimizer, sparsifier, steps) -> None:
        for _ in range(steps):
            turn(cross_entropy(model(torch.randn(8, 8)), torch.randint(2, (8,))), optimizer, sparsifier)

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        first = built()
        train(*first, stop)
        states = [copy.deepcopy(part.state_dict()) for part in first]
        resumed = built()
        for part, state in zip(resumed, states, strict=True):
            part.load_state_dict(state)
        train(*resumed, 12 - stop)
    messages = [str(one.message).partition(",")[0] for one in said]
    assert messages == ["step 0: no weight is left in 0.weight", "step 4: no weight is left in 4.weight"]
    assert {Path(one.filename).name for one in said} == {"loops.py"}  # the loop, and no line of the library


@pytest.mark.parametrize("name", METHODS_OF_ALL_KINDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions_have_exact_counts_and_zeros(name, dtype):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.Linear(32, 4)).to(dtype)
    optimizer = sgd(model)
    sparsifier = Sparsifier(
        model, optimizer, METHODS[name](**METHODS_OF_ALL_KINDS[name]), seed=0, total_steps=8
    )
    for _ in range(8):
        turn(model(torch.randn(8, 16, dtype=dtype)).square().sum(), optimizer, sparsifier)
    assert sum(sparsifier.num_active.values()) == 64
    for key, mask in sparsifier.masks.items():
        assert not model.get_parameter(key)[~mask].any()


@pytest.mark.parametrize("name", ["granet", "rigl", "set", "deep_r", "dsr", "snfs", "snip", "synflow", "str"])
def test_a_default_device_decides_nothing(name):
    """The one of this test has no values: a tensor that was made on it would be noticed."""
    masks = []
    for default in ("cpu", "meta"):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
        optimizer = sgd(model)
        inputs, labels = torch.randn(8, 16), torch.arange(8) % 4
        values = {"sf": 0.5} | ({} if name in ("snip", "synflow", "deep_r") else EVERY)
        with torch.device(default):
            sparsifier = Sparsifier(
                model, optimizer, METHODS[name](**values), seed=0, total_steps=8, batches=[(inputs, labels)]
            )
            for _ in range(8):
                turn(cross_entropy(model(inputs), labels), optimizer, sparsifier)
            other = (
                Sparsifier(model, sgd(model), METHODS["static"](sf=0.5), seed=0, total_steps=8)
                if name != "str"
                else sparsifier
            )
            other.load_state_dict(other.state_dict())
        masks.append(sparsifier.masks)
    assert all(torch.equal(mask, masks[1][key]) for key, mask in masks[0].items())
