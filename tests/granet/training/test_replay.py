"""granet.training.replay, with a recording that computes anew into the same memory: a CPU has no CUDA graphs.

tests/gpu compares real ones.
"""

from typing import Any

import pytest
import torch

from granet import METHODS
from granet.training import replay, run
from granet.training.loop import fit
from granet.training.replay import WARM_UP, Replay
from tests.helpers.training import GRANET, make_run


class Again:
    """What replays overwrites the outputs and the gradients of the recording."""

    def __init__(self, recorded: Any, function: Any, parameters: list) -> None:
        self._recorded, self._function, self._parameters = recorded, function, parameters
        self.count = 0

    def replay(self) -> None:
        self.count += 1
        current = [parameter.grad for parameter in self._parameters]
        for parameter in self._parameters:
            parameter.grad = None
        outputs = self._function(*self._recorded._inputs)
        kept = dict(self._recorded._gradients)
        for place, value in zip(self._recorded._outputs, outputs, strict=True):
            place.copy_(value)
        for parameter, gradient in zip(self._parameters, current, strict=True):
            if parameter in kept:
                kept[parameter].copy_(parameter.grad)
            parameter.grad = gradient


@pytest.fixture
def recording(monkeypatch):
    """Recordings without a GPU. Making one computes nothing that stays: a run draws and counts no more for it."""

    def record(self: Replay, function: Any, inputs: tuple, leaves: Any) -> None:
        parameters = list(leaves)
        self._inputs = [tensor.clone() for tensor in inputs]
        outputs = shapes_of(function, self._inputs, self._generator)
        self._outputs = tuple(map(torch.empty_like, outputs))
        self._gradients = [(p, torch.empty_like(p)) for p in parameters]
        self._graph = Again(self, function, parameters)  # type: ignore[assignment]

    def shapes_of(function: Any, inputs: list, generator: torch.Generator) -> tuple:
        state = generator.get_state()
        saved = {name: value.clone() for name, value in current[0].model.state_dict().items()}
        outputs = function(*inputs)
        generator.set_state(state)
        current[0].model.load_state_dict(saved)
        current[0].optimizer.zero_grad(set_to_none=True)
        return outputs

    current: list[Any] = []
    monkeypatch.setattr(Replay, "_record", record)
    monkeypatch.setattr(run, "can_replay", lambda device: True)
    return current


@pytest.mark.parametrize("method", ["dense", "granet", "str"])
def test_a_run_of_recorded_steps_is_the_run_of_launched_ones(digits, tmp_path, recording, method):
    """Three full batches an epoch and a smaller one; masks change after every second step."""
    row = METHODS[method](**({} if method == "dense" else GRANET))
    states = []
    for graphs in (True, False):
        made = make_run(digits, method=row, epochs=5, cuda_graphs=graphs)
        recording[:] = [made]
        fit(made, history_csv=tmp_path / f"{graphs}.csv", checkpoint_path=tmp_path / f"{graphs}.pt")
        states.append(made.model.state_dict())
        graphs_made: dict[str, Any] = {
            name: made_one._graph for name, made_one in made.replays._replays.items()
        }
        counts = {name: graph.count for name, graph in graphs_made.items() if graph is not None}
        num_updates = 0 if method == "dense" else sum(map(made.sparsifier.updates_at, full_batches(made)))
        expected = {"augment": 15 - WARM_UP, "step": 15 - num_updates - WARM_UP}
        assert {name: counts.get(name) for name in expected} == (
            expected if graphs else dict.fromkeys(expected)
        )
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


def full_batches(made: Any) -> list[int]:
    """The steps of the run, from 1, whose batch is a full one."""
    return [step for step in range(1, 4 * made.epochs + 1) if step % 4]


def test_other_shapes_and_the_first_calls_are_computed_as_ever(monkeypatch):
    made: list[tuple] = []
    monkeypatch.setattr(replay.Replay, "_record", lambda self, function, inputs, leaves: made.append(inputs))
    double = Replay(torch.Generator())
    for number in range(WARM_UP + 1):
        (two,) = double(lambda x: (2 * x,), torch.full((3,), number))
        (odd,) = double(lambda x: (3 * x,), torch.full((number + 4,), number))
        assert two.tolist() == [2 * number] * 3 and odd.tolist() == [3 * number] * (number + 4)
    assert [inputs[0].tolist() for inputs in made] == [[WARM_UP] * 3]
