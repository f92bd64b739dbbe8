"""Which layers are masked, and how sparse each of them gets."""

import warnings
from typing import Any

import pytest
import torch
from torch import nn

from granet import METHODS, Sparsifier, UserError
from granet.distributions import erk
from granet.inits.random import Random
from granet.maskable import Choice, maskable_weights, stacks
from granet.types import InitContext
from tests.helpers.loops import turn

STEPS = 12


class Everything(nn.Module):
    """A layer of every kind, over tokens (N, T) and images (N, 4, 8, 8)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.stem = nn.Conv2d(4, 8, 3, padding=1)
        self.block = nn.ModuleDict(
            {
                "grouped": nn.Conv2d(8, 16, 3, padding=1, groups=4),
                "up": nn.ConvTranspose2d(16, 8, 2, groups=2),
                "line": nn.Conv1d(8, 16, 3, padding=1),
                "solid": nn.Conv3d(1, 2, 3, padding=1),
            }
        )
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.lstm = nn.LSTM(16, 8, batch_first=True)
        self.gru = nn.GRU(8, 8, batch_first=True)
        self.scale = nn.Parameter(torch.ones(1, 8))
        self.head = nn.Linear(8, 4)

    def forward(self, tokens_NT: torch.Tensor, images_NCHW: torch.Tensor) -> torch.Tensor:
        maps = self.block["up"](self.block["grouped"](self.stem(images_NCHW)))
        lines = self.block["line"](maps.flatten(2)).mean(1)
        solid = self.block["solid"](maps[:, None]).mean((1, 2, 3, 4))
        hidden = self.embedding(tokens_NT)
        hidden, _ = self.lstm(self.attention(hidden, hidden, hidden)[0])
        hidden = self.gru(hidden)[0][:, -1] * self.scale
        return self.head(hidden + lines.mean(1, keepdim=True) + solid[:, None])


BLOCK = [f"block.{name}.weight" for name in ("grouped", "up", "line", "solid")]
ATTENTION = ["attention.in_proj_weight", "attention.out_proj.weight"]
RECURRENT = ["lstm.weight_ih_l0", "lstm.weight_hh_l0", "gru.weight_ih_l0", "gru.weight_hh_l0"]
ALL = ["stem.weight", *BLOCK, *ATTENTION, *RECURRENT, "head.weight"]


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return Everything()


def built(
    model: nn.Module, name: str = "static", sf: float = 0.5, total_steps: int = STEPS, **choice: Any
) -> Sparsifier:
    every = {} if name in ("static", "snip", "small_dense") else {"update_interval": 2}
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what stays dense, which has tests of its own
        return Sparsifier(
            model, optimizer, METHODS[name](sf=sf, **every), seed=0, total_steps=total_steps, **choice
        )


def train(model: nn.Module, sparsifier: Sparsifier) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        tokens = torch.randint(50, (8, 5), generator=generator)
        images = torch.randn(8, 4, 8, 8, generator=generator)
        turn(model(tokens, images).square().mean(), sparsifier._optimizer, sparsifier)


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ({}, ALL),
        ({"exclude": "head"}, [name for name in ALL if name != "head.weight"]),
        ({"exclude": ["head.weight", "block"]}, ["stem.weight", *ATTENTION, *RECURRENT]),
        ({"exclude": nn.RNNBase}, ["stem.weight", *BLOCK, *ATTENTION, "head.weight"]),
        ({"exclude": ["MultiheadAttention", "*.weight_hh*", "block.[gu]*"]},
         ["stem.weight", *BLOCK[2:], RECURRENT[0], RECURRENT[2], "head.weight"]),
        ({"include": "block.*"}, BLOCK),
        ({"include": (nn.Conv2d, nn.Linear), "exclude": nn.MultiheadAttention},
         ["stem.weight", BLOCK[0], "head.weight"]),
        ({"include": [nn.Embedding, "LSTM", "scale"]}, ["scale", "embedding.weight", *RECURRENT[:2]]),
        ({"include": "*"}, ALL),  # the embedding is not meant
        ({"dense": ("first", "last")}, ALL[1:-1]),
        ({"dense": "last", "exclude": "head"}, ALL[:-1]),
        ({"dense": "last", "include": RECURRENT}, RECURRENT),
    ],
)  # fmt: skip
def test_layers_are_chosen_by_type_name_pattern_and_place(model, choice, names):
    sparsifier = built(model, **choice)
    assert list(sparsifier.masks) == names
    for name, p in model.named_parameters():
        assert name in names or "bias" in name or p.all()
    assert sparsifier.sparsity == pytest.approx(0.5, abs=1e-3)


def test_the_last_layer_is_all_of_its_matrices():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.GRU(4, 4))
    assert list(Choice.made(dense=("first", "last")).weights(model)) == ["1.weight"]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"exclude": "hed"}, r"exclude='hed' names no weight of this model; its names are like"),
        ({"include": nn.Bilinear}, r"include='Bilinear' names no weight"),
        ({"dense": "middle"}, r"dense=.*'middle'.* must be first or last"),
        ({"include": "head", "dense": "last"}, "leaves no layer to mask"),
        ({"layer_sparsity": {"tail": 0.5}}, "layer_sparsity: 'tail' names no masked weight"),
        ({"layer_sparsity": {"head": 1.5}}, r"layer_sparsity\['head'\]=1.5 must be in \[0, 1\]"),
        ({"layer_sparsity": {"*": 0.8}}, "the nearest sparsity is 0.8"),
        (
            {"name": "snfs", "layer_sparsity": {"head": 0.5}},
            "decides by itself how many weights each layer has",
        ),
        ({"name": "small_dense", "layer_sparsity": {"head": 0.5}}, "decides by itself"),
    ],
)
def test_a_choice_that_cannot_be_is_one_line(model, choice, message):
    with pytest.raises(UserError, match=message) as error:
        built(model, **choice)
    assert "\n" not in str(error.value)


def test_what_stays_dense_is_named_the_largest_first_but_not_what_was_asked_for(model):
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with pytest.warns(UserWarning, match=r": embedding.weight \(800\), scale \(8\)$"):
        Sparsifier(model, optimizer, METHODS["static"](sf=0.5), seed=0, total_steps=4, exclude="head")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Sparsifier(model, optimizer, METHODS["static"](sf=0.5), seed=0, total_steps=4, include=ALL)
        Sparsifier(
            model, optimizer, METHODS["static"](sf=0.5), seed=0, total_steps=4, exclude=["embedding", "scale"]
        )


@pytest.mark.parametrize("name", ["granet", "rigl", "gmp", "set"])
def test_every_kind_of_layer_trains_to_an_exact_sparsity(model, name):
    sparsifier = built(model, name, 0.75, include=("Embedding", *ALL), exclude="scale")
    train(model, sparsifier)
    size = sum(mask.numel() for mask in sparsifier.masks.values())
    assert sum(sparsifier.num_active.values()) == round(0.25 * size)
    assert len(sparsifier.masks) == len(ALL) + 1
    for key, mask in sparsifier.masks.items():
        assert not model.get_parameter(key)[~mask].any()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("static", {}),
        ("snip", {}),
        ("rigl", {}),
        ("set", {}),
        ("gmp", {}),
        ("granet", {}),
        ("granet", {"si": 0.5}),
        ("granet", {"distribution": "uniform"}),
        ("gmp_original", {}),
    ],
)
def test_layers_get_their_own_sparsities_and_the_others_make_up_for_them(name, options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))
    every = {} if name in ("static", "snip") else {"update_interval": 2}
    method = METHODS[name](sf=0.8, **every, **options)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    inputs, labels = torch.randn(8, 32), torch.arange(8)
    sparsifier = Sparsifier(
        model,
        optimizer,
        method,
        seed=0,
        total_steps=STEPS,
        batches=[(inputs, labels)],
        layer_sparsity={"[04]": 0.9, "4.weight": 0.25},
    )
    for _ in range(STEPS):
        turn(nn.functional.cross_entropy(model(inputs), labels), optimizer, sparsifier)
    layers = sparsifier.layer_sparsity
    assert layers["0.weight"] == pytest.approx(0.9, abs=1 / 2048)
    assert layers["4.weight"] == pytest.approx(0.25, abs=1 / 512)
    assert sum(sparsifier.num_active.values()) == round(0.2 * (2048 + 4096 + 512))


def test_a_sparsity_for_every_layer_must_be_the_networks():
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    sparsifier = built(model, "rigl", 0.7, layer_sparsity={"0": 0.5, "1": 0.9})
    assert list(sparsifier.num_active.values()) == [32, 6]
    with pytest.raises(
        UserError, match=r"layer_sparsity: of the 64 weights that stay .* nearest sparsity is 0.7$"
    ):
        built(model, "rigl", 0.5, layer_sparsity={"0": 0.5, "1": 0.9})


def test_erk_sees_stacked_matrices_one_by_one(model):
    """Attention's three projections, and the gates of recurrent layers, are as dense as if they were layers."""
    weights = maskable_weights(model)
    parts = {
        f"{name} {part}": (len(weight) // number, *weight.shape[1:])
        for name, weight in weights.items()
        for number in [stacks(model, weights).get(name, 1)]
        for part in range(number)
    }
    layers = erk(parts, 0.9)
    masks = Random(erk, 0.9)(InitContext(model, weights, 0, stacks=stacks(model, weights)))
    for name, mask in masks.items():
        share = 1 - int(mask.sum()) / mask.numel()
        assert share == pytest.approx(layers[f"{name} 0"], abs=1.01 / mask.numel()), name
    assert stacks(model, weights) == {
        "attention.in_proj_weight": 3,
        **dict.fromkeys(RECURRENT[:2], 4),
        **dict.fromkeys(RECURRENT[2:], 3),
    }
    as_one = erk({name: tuple(weight.shape) for name, weight in weights.items()}, 0.9)
    assert layers["attention.in_proj_weight 0"] < as_one["attention.in_proj_weight"]


def convolutions() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.Conv2d(16, 32, 3), nn.Conv2d(32, 64, 3), nn.Flatten(), nn.LazyLinear(10)
    )


def trained(model: nn.Module, method: Any, **options: Any) -> Sparsifier:
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    sparsifier = Sparsifier(model, optimizer, method, seed=0, total_steps=20, **options)
    for _ in range(20):
        turn(model(torch.randn(2, 3, 8, 8)).square().mean(), optimizer, sparsifier)
    return sparsifier


@pytest.mark.parametrize(
    ("name", "values"),
    [("gmp_original", {}), ("mest", {}), ("topkast", {}), ("set", {"dense_layers": "first"})],
)
def test_a_sparsity_for_the_layer_that_stays_dense_makes_no_other_one_dense(name, values):
    model = convolutions()
    model(torch.zeros(1, 3, 8, 8))
    sparsifier = trained(model, METHODS[name](sf=0.7, update_interval=2, **values), layer_sparsity={"0": 0.5})
    first, *others = sparsifier.layer_sparsity.values()
    assert first == pytest.approx(0.5, abs=1 / 400)
    assert min(others) > 0.4 and sparsifier.sparsity == pytest.approx(0.7, abs=1e-4)


def test_a_soft_bound_drops_a_layer_to_its_own_sparsity():
    model = convolutions()
    model(torch.zeros(1, 3, 8, 8))
    optimizer = torch.optim.SGD(model.parameters(), 1e-9)
    method = METHODS["mest"](sf=0.9, soft_bound=0.05, update_interval=2, dense_layers="none")
    sparsifier = Sparsifier(model, optimizer, method, seed=0, total_steps=20, layer_sparsity={"4": 0.3})
    for _ in range(2):
        turn(model(torch.randn(2, 3, 8, 8)).square().mean(), optimizer, sparsifier)
    last, mask = model.get_parameter("4.weight"), sparsifier.masks["4.weight"]
    num_grown = int((last[mask] == 0).sum())  # they start from zero
    assert 0 < num_grown < 0.05 * last.numel()


@pytest.mark.parametrize("name", ["mest", "dsr", "set"])
def test_a_stacked_matrix_stays_dense_as_a_whole(name):
    model = nn.Sequential(
        nn.TransformerEncoderLayer(16, 2, 64, batch_first=True), nn.Linear(16, 64), nn.Linear(64, 4)
    )
    method = METHODS[name](sf=0.6, update_interval=2, dense_layers="first")
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    sparsifier = Sparsifier(model, optimizer, method, seed=0, total_steps=20)
    assert sparsifier.layer_sparsity["0.self_attn.in_proj_weight"] == 0
    assert sparsifier.sparsity == pytest.approx(0.6, abs=1e-3)


def test_dense_training_has_no_use_for_a_layers_sparsity():
    model = convolutions()
    model(torch.zeros(1, 3, 8, 8))
    assert trained(model, METHODS["dense"](), layer_sparsity={"0": 0.5}).masks == {}


class Positions(nn.Module):
    """Tokens with positions that are learnt, a matrix of the model's own, and one shared by name alone."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.positions = nn.Embedding(20, 8), nn.Parameter(torch.randn(1, 4, 8))
        self.own, self.head = nn.Parameter(torch.randn(8, 8)), nn.Linear(8, 3)

    def forward(self, tokens_NT: torch.Tensor) -> torch.Tensor:
        hidden = nn.functional.linear(self.embedding(tokens_NT) + self.positions, self.own)
        return self.head(hidden.mean(1))


@pytest.mark.parametrize("include", ["positions", "own", nn.Embedding])
@pytest.mark.parametrize("name", ["granet", "gmp_original", "dpf", "str", "topkast"])
def test_a_parameter_of_another_kind_goes_with_every_method(name, include):
    torch.manual_seed(0)
    model = Positions()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    method = METHODS[name](
        sf=0.5, update_interval=2, **({"dense_layers": "none"} if name == "topkast" else {})
    )
    sparsifier = Sparsifier(model, optimizer, method, seed=0, total_steps=STEPS, include=[nn.Linear, include])
    for _ in range(STEPS):
        turn(model(torch.randint(20, (2, 4))).square().mean(), optimizer, sparsifier)
    assert len(sparsifier.masks) == 2
    sparsifier.finish()
    assert model.state_dict().keys() == Positions().state_dict().keys()
    assert sparsifier.sparsity == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("name", ["gmp", "gmp_original"])
def test_a_sparsity_for_the_classifier_puts_its_cap_on_no_other_layer(name):
    sizes = [(64, 64)] * 6 + [(64, 10)]
    model = nn.Sequential(*(nn.Linear(*size) for size in sizes))
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    method = METHODS[name](sf=0.9, distribution="uniform", tf=2, update_interval=1)
    sparsifier = Sparsifier(model, optimizer, method, seed=0, total_steps=4, layer_sparsity={"6": 0.5})
    for _ in range(4):
        turn(model(torch.randn(2, 64)).square().mean(), optimizer, sparsifier)
    first, *hidden, last = sparsifier.layer_sparsity.values()
    assert last == 0.5 and max(hidden) - min(hidden) < 1 / 1000
    assert first == pytest.approx(hidden[0], abs=1 / 1000) or (name == "gmp_original" and first == 0.0)
