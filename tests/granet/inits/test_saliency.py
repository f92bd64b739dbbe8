import copy
import math

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, jacrev

from granet import METHODS, Sparsifier, UserError
from granet.inits.fisher import obd
from granet.inits.saliency import first_images, float64_device, grasp, snip, synaptic_flow, synflow
from granet.maskable import maskable_weights
from granet.models import build
from granet.types import InitContext


class Net(nn.Module):
    """Small enough for its whole Hessian: 54 + 36 + 12 weights."""

    def __init__(self, bias=True, activation=torch.tanh):
        super().__init__()
        self.activation = activation
        self.a = nn.Conv2d(3, 2, 3, bias=False)
        self.bn = nn.BatchNorm2d(2)
        self.b = nn.Conv2d(2, 2, 3, bias=False)
        self.fc = nn.Linear(2, 3, bias=bias)

    def forward(self, x):
        return self.fc(self.b(self.activation(self.bn(self.a(x)))).relu().mean((2, 3)))


def images(num_batches=3):
    for number in range(num_batches):
        generator = torch.Generator().manual_seed(number)
        yield (
            torch.randn(6, 3, 7, 7, generator=generator, dtype=torch.float64),
            torch.tensor([0, 1, 2, 0, 1, 2]),
        )


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net().double()


def given_of(model, batches=images):
    return InitContext(model, maskable_weights(model), seed=0, batches=batches)


def close(a, b):
    assert set(a) == set(b)
    for name in a:
        assert torch.allclose(a[name], b[name], rtol=1e-5, atol=1e-12), name


def loss_of(model, x, y, temperature=1.0):
    """Cross-entropy as a function of the maskable weights, BatchNorm on the batch's statistics."""
    rest = {name: value.detach() for name, value in model.named_parameters()}

    def loss(weights):
        pure = copy.deepcopy(model)
        pure.bn.track_running_stats, pure.bn.running_mean, pure.bn.running_var = False, None, None
        logits = functional_call(pure, rest | weights, (x,))
        return nn.functional.cross_entropy(logits / temperature, y)

    return loss


def detached(model):
    return {name: weight.detach().clone() for name, weight in maskable_weights(model).items()}


def test_snip_is_the_gradient_of_a_factor_on_every_weight(net):
    x, y = next(images())
    weights = detached(net)
    loss = loss_of(net, x, y)
    ones = {name: torch.ones_like(weight) for name, weight in weights.items()}
    by_factor = grad(lambda c: loss({name: c[name] * weights[name] for name in weights}))(ones)
    close(snip(given_of(net), num_images=6), {name: value.abs() for name, value in by_factor.items()})


@pytest.mark.parametrize("part", [6, 128])
def test_grasp_is_the_weight_times_hessian_times_gradient(net, part, monkeypatch):
    """12 images: at once, or in two parts with BatchNorm statistics of their own."""
    monkeypatch.setattr("granet.inits.saliency.PART", part)
    batches = list(images())
    x, y = torch.cat([b[0] for b in batches[:2]]), torch.cat([b[1] for b in batches[:2]])
    weights = detached(net)
    losses = [
        loss_of(net, *piece, temperature=5.0) for piece in zip(x.split(part), y.split(part), strict=True)
    ]

    def loss(weights):
        return sum(one(weights) for one in losses) / len(losses)

    gradient, curvature = grad(loss)(weights), jacrev(grad(loss))(weights)
    expected = {
        a: weights[a]
        * sum(torch.tensordot(curvature[a][b], gradient[b], dims=gradient[b].dim()) for b in weights)
        for a in weights
    }
    close(grasp(given_of(net), images_per_class=4, temperature=5.0), expected)  # 4 of 3 classes: two batches


def test_synflow_scores_are_weights_times_the_gradient_of_the_absolute_network(net):
    absolute = copy.deepcopy(net).eval()
    with torch.no_grad():
        for tensor in (*absolute.parameters(), *absolute.buffers()):
            tensor.abs_()
    weights = detached(absolute)
    rest = {name: value.detach() for name, value in absolute.named_parameters()}
    ones = torch.ones(1, 3, 7, 7, dtype=torch.float64)
    gradient = grad(lambda w: functional_call(absolute, rest | w, (ones,)).sum())(weights)
    expected = {name: weights[name] * gradient[name] for name in weights}
    close(synaptic_flow(absolute, maskable_weights(absolute), (3, 7, 7)), expected)


@pytest.mark.parametrize("name", ["small", "vgg19"])
def test_synflow_conserves_the_flow_of_every_layer(name):
    torch.manual_seed(0)
    small = name == "small"
    model = Net(bias=False, activation=torch.relu) if small else build("vgg19", num_classes=10)
    model.double()
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.abs_()
    scores = synaptic_flow(model, maskable_weights(model), (3, 32, 32))
    sums = [float(score.sum()) for score in scores.values()]
    assert max(sums) == pytest.approx(min(sums), rel=1e-9)
    assert min(sums) > 0


@pytest.mark.soak
def test_synflow_at_98_percent_empties_no_layer_of_vgg19():
    torch.manual_seed(0)
    model = build("vgg19", num_classes=10)
    given = given_of(model, lambda: [(torch.zeros(1, 3, 32, 32), torch.zeros(1))])
    masks = synflow(
        given, 0.98, rounds=20
    )  # the harder case: it is few rounds that empty a layer (next test)
    active = {name: int(mask.sum()) for name, mask in masks.items()}
    assert sum(active.values()) == round(0.02 * 20_024_000)
    assert min(active.values()) > 100


def test_pruning_by_flow_at_once_does_empty_a_layer():
    """Why it takes rounds (Tanaka et al. 2020, Theorem 3): one round at high compression collapses a layer."""
    torch.manual_seed(0)
    model = build("resnet20", num_classes=10)
    given = given_of(model, lambda: [(torch.zeros(1, 3, 32, 32), torch.zeros(1))])
    emptiest = [min(int(mask.sum()) for mask in synflow(given, 0.998, r).values()) for r in (1, 50)]
    assert emptiest[0] == 0 < emptiest[1]


def test_synflow_that_leaves_no_path_names_the_sparsity(net):
    with pytest.raises(
        UserError, match=r"sparsity=0\.999: SynFlow has no path left .* after \d of its 8 rounds"
    ):
        synflow(given_of(net), 0.999, 8)  # of 102 weights


@pytest.mark.parametrize("choose", [snip, grasp, lambda given: synflow(given, 0.5, 3)])
def test_the_model_is_left_as_it_was(net, choose):
    before = copy.deepcopy(net.state_dict())
    net.train()
    net.fc.eval()
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first, second = choose(given_of(net)), choose(given_of(net))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())
    assert (net.training, net.bn.training, net.fc.training) == (True, True, False)
    assert torch.equal(torch.get_rng_state(), state)


def test_images_are_the_first_ones_and_no_more(net):
    x, y = first_images(given_of(net), 8)
    everything = torch.cat([batch[0] for batch in images()])
    assert torch.equal(x, everything[:8])
    assert y.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert len(first_images(given_of(net), 999)[0]) == 18


@pytest.mark.parametrize("name", ["snip", "force", "grasp", "synflow", "obd", "sis"])
def test_a_method_that_looks_at_images_says_so_where_there_are_none(name):
    model = Net()
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(UserError, match="pass batches to Sparsifier"):
        Sparsifier(model, opt, METHODS[name](sf=0.5), seed=0, total_steps=10)


def test_scores_are_finite_on_a_deep_network():
    torch.manual_seed(0)
    model = build("resnet50_cifar", num_classes=10).double()
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.abs_()
    scores = synaptic_flow(model, maskable_weights(model), (3, 8, 8))
    assert all(math.isfinite(float(score.sum())) for score in scores.values())


class Attends(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.fc = (
            nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True),
            nn.Linear(8, 2),
        )

    def forward(self, x):
        return self.fc(self.layer(x).mean(1))


def test_grasp_takes_attention():
    torch.manual_seed(0)
    scores = grasp(given_of(Attends(), [(torch.randn(4, 5, 8), torch.tensor([0, 1, 0, 1]))]), 2)
    assert all(score.isfinite().all() and score.any() for score in scores.values())


class Remembers(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.fc, self.seen = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 2), []

    def forward(self, x):
        self.seen.append(torch.backends.cudnn.enabled)
        return self.fc(self.rnn(x)[0][:, -1])


@pytest.mark.parametrize("score", [grasp, obd])
def test_recurrent_layers_do_without_cudnn_which_lacks_their_gradients(score):
    model, enabled = Remembers(), torch.backends.cudnn.enabled
    score(given_of(model, [(torch.randn(4, 5, 3), torch.tensor([0, 1, 0, 1]))]), 2)
    assert False in model.seen and torch.backends.cudnn.enabled is enabled


def test_synflow_computes_on_the_cpu_where_the_device_has_no_float64():
    assert float64_device(torch.device("mps")) == torch.device("cpu")
    assert float64_device(torch.device("cuda:1")) == torch.device("cuda:1")
