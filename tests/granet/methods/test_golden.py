"""Methods on a network of weights by a formula, in float64: active weights by layer, and a digest of all masks.

Recorded with this code, once its updates agreed with the steps written out in the tests beside this one.
"""

import hashlib

import pytest
import torch
from torch.nn.functional import cross_entropy

from granet import METHODS, Sparsifier
from tests.granet.test_released import STEPS, batch, network
from tests.helpers.loops import turn

EVERY = {"sf": 0.9, "update_interval": 8}
GOLDEN: dict[str, tuple] = {
    "set snip": (
        "set",
        {"drop_criterion": "snip"},
        [[134, 154, 58], [134, 154, 58], [134, 154, 58]],
        "e92347eb1f7e",
    ),
    "rigl sensitivity": (
        "rigl",
        {"drop_criterion": "sensitivity"},
        [[134, 154, 58], [134, 154, 58], [134, 154, 58]],
        "7830abcd8446",
    ),
    "rigl reciprocal": (
        "rigl",
        {"drop_criterion": "reciprocal"},
        [[134, 154, 58], [134, 154, 58], [134, 154, 58]],
        "18b41b7bf796",
    ),
    "mest": ("mest", {}, [[128, 205, 13], [128, 205, 13], [128, 205, 13]], "e10f6f448627"),
    "mest soft": (
        "mest",
        {"soft_bound": 0.05},
        [[192, 307, 19], [160, 256, 16], [128, 205, 13]],
        "23de34568ebe",
    ),
    "gmp_star": (
        "gmp_star",
        {"distribution": "uniform"},
        [[206, 329, 26], [128, 205, 26], [124, 197, 25]],
        "a6ab604e5cdd",
    ),
    "acdc": (
        "acdc",
        {"distribution": "uniform"},
        [[123, 197, 26], [1280, 2048, 128], [123, 197, 26]],
        "519fa839b23d",
    ),
    "topkast": ("topkast", {}, [[128, 205, 13], [128, 205, 13], [128, 205, 13]], "e87d6438844b"),
    "gse": ("gse", {}, [[134, 154, 58], [134, 154, 58], [134, 154, 58]], "779d481fcdbe"),
    "cht": ("cht", {}, [[128, 205, 13], [128, 205, 13], [128, 205, 13]], "bb0b74b40505"),
    "cht ch3": (
        "cht",
        {"automaton": "ch3"},
        [[128, 205, 13], [128, 205, 13], [128, 205, 13]],
        "599e9379201e",
    ),
}


def trained(name, values):
    """Active weights by layer after steps 24, 48 and 80, and the digest of all masks in between."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    sparsifier = Sparsifier(model, optimizer, METHODS[name](**EVERY, **values), seed=0, total_steps=STEPS)
    counts, digest = [], hashlib.sha256()
    for step in range(1, STEPS + 1):
        turn(cross_entropy(model(batch(step)[0]), batch(step)[1]), optimizer, sparsifier)
        if step % 8 == 0:
            digest.update(b"".join(mask.numpy().tobytes() for mask in sparsifier.masks.values()))
        if step in (24, 48, 80):
            counts.append(list(sparsifier.num_active.values()))
    return counts, digest.hexdigest()[:12]


@pytest.mark.parametrize("case", GOLDEN, ids=str)
def test_masks_are_those_recorded(case):
    name, values, *expected = GOLDEN[case]
    assert [*trained(name, values)] == expected
