"""Methods that look at data, on tasks other than the classification of images."""

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss
from torch.utils.data import DataLoader, TensorDataset

from granet import METHODS, Sparsifier, UserError

TOKENS, CLASSES = 12, 5


class Translator(nn.Module):
    """Token ids (N, T) -> logits (N, classes, T), with a mask of attention and an index among its buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.body, self.head = nn.Embedding(50, 16), nn.Linear(16, 32), nn.Linear(32, CLASSES)
        self.register_buffer("seen", torch.ones(TOKENS, 1, dtype=torch.bool))
        self.register_buffer("places", torch.arange(TOKENS))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        hidden = self.embedding(tokens) if tokens.dtype == torch.long else tokens
        return self.head(torch.relu(self.body(hidden)) * self.seen).movedim(-1, 1)


def mlp(out: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, out))


def ignoring(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return cross_entropy(outputs, labels, ignore_index=-100)


def built(name: str, model: nn.Module, batches, **loss) -> Sparsifier:
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    return Sparsifier(
        model, optimizer, METHODS[name](sf=0.9), seed=0, total_steps=10, batches=batches, **loss
    )


def tasks():
    torch.manual_seed(0)
    numbers, tokens = torch.randn(64, 16), torch.randint(50, (8, TOKENS))
    some = torch.randint(CLASSES, (64,)).masked_fill(torch.arange(64) % 3 == 0, -100)
    yield "regression", mlp(1), numbers, torch.randn(64, 1), mse_loss
    yield "binary", mlp(1), numbers, torch.randint(2, (64, 1)).float(), binary_cross_entropy_with_logits
    yield "ignored", mlp(CLASSES), numbers, some, ignoring
    yield "tokens", Translator(), tokens, torch.randint(CLASSES, (8, TOKENS)), cross_entropy


@pytest.mark.filterwarnings("ignore:.*stay dense")
@pytest.mark.parametrize("name", ["snip", "grasp"])
@pytest.mark.parametrize("task", range(4), ids=["regression", "binary", "ignored", "tokens"])
def test_the_loss_of_the_training_chooses_the_masks(name, task):
    _, model, inputs, labels, loss = list(tasks())[task]
    sparsifier = built(name, model, [(inputs, labels)], loss=loss)
    assert sparsifier.sparsity == pytest.approx(0.9, abs=2e-3)
    mask = sparsifier.masks[next(iter(sparsifier.masks))].flatten()
    assert not mask[: int(mask.sum())].all()  # scores that are equal would keep the first ones


@pytest.mark.parametrize("name", ["snip", "grasp"])
@pytest.mark.parametrize(
    ("out", "labels", "message"),
    [
        (1, torch.randn(64, 1), "so they choose no mask; does the loss depend on the weights"),
        (1, torch.zeros(64, dtype=torch.long), "so they choose no mask"),
        (
            4,
            torch.randn(64, 1),
            r"^loss: .*labels \(64, 1\) torch.float32\); pass the loss of your",
        ),
    ],
)
def test_a_loss_that_does_not_go_with_the_labels_is_told(name, out, labels, message):
    with pytest.raises(UserError, match=message):
        built(name, mlp(out), [(torch.randn(64, 16), labels)])


def test_scores_that_are_not_finite_are_refused():
    model = mlp(4)
    with torch.no_grad():
        model.get_parameter("0.weight")[0, 0] = torch.nan
    with pytest.raises(UserError, match="a score is NaN or infinite"):
        built("snip", model, [(torch.randn(64, 16), torch.zeros(64, dtype=torch.long))])


def test_a_model_of_several_outputs_needs_a_loss():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(16, 4)

        def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, None]:
            return self.head(inputs), None

    batches = [(torch.randn(8, 16), torch.arange(8) % 4)]
    with pytest.raises(UserError, match=r"outputs tuple, labels \(8,\) torch.int64\); pass the loss"):
        built("snip", Two(), batches)
    built("snip", Two(), batches, loss=lambda outputs, labels: cross_entropy(outputs[0], labels))


@pytest.mark.filterwarnings("ignore:.*stay dense")
def test_synflow_leaves_buffers_that_are_no_numbers_and_refuses_tokens():
    assert built(
        "synflow", Translator(), [(torch.randn(2, TOKENS, 16), torch.zeros(2))]
    ).sparsity == pytest.approx(0.9, abs=2e-3)
    with pytest.raises(UserError, match=r"SynFlow sends an image of ones, and these inputs are torch\.int64"):
        built("synflow", Translator(), [(torch.randint(50, (2, TOKENS)), torch.zeros(2, dtype=torch.long))])


def test_batches_are_a_list_a_loader_a_generator_or_a_function():
    torch.manual_seed(0)
    inputs, labels = torch.randn(128, 16), torch.randint(4, (128,))
    loader = DataLoader(TensorDataset(inputs, labels), 32)
    pairs = list(loader)
    masks = [
        built("snip", mlp(4), one).masks for one in (pairs, loader, (pair for pair in pairs), lambda: pairs)
    ]
    for other in masks[1:]:
        assert all(torch.equal(mask, other[name]) for name, mask in masks[0].items())


@pytest.mark.parametrize("name", ["snip", "grasp", "synflow", "force", "obd", "sis"])
def test_batches_that_are_none_are_told(name):
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with pytest.raises(
        UserError, match=r"^batches: the(re is none, or an iterator that|y end before the last round)"
    ):
        Sparsifier(model, optimizer, METHODS[name](sf=0.5), seed=0, total_steps=10, batches=iter([]))
