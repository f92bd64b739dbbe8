"""A network that computes with its active weights alone, for inference."""

import copy
import pickle
from multiprocessing.pool import ThreadPool
from typing import Any

import pytest
import torch
from torch import nn

from granet import UserError
from granet.deploy.compiled import SparseInference, compile_sparse
from granet.deploy.packed import load_packed, save_packed
from granet.deploy.shrink import shrunk
from granet.kernels import accelerate, plain_, why_not
from granet.maskable import maskable_weights
from granet.models import build

pytestmark = pytest.mark.skipif(why_not() is not None, reason=f"no sparse kernels: {why_not()}")


def masked(model: nn.Module, density: float = 0.1):
    """Random masks of all maskable weights, which are zeroed; BatchNorm has seen images."""
    masks = {name: torch.rand(weight.shape) < density for name, weight in maskable_weights(model).items()}
    with torch.no_grad():
        for name, mask in masks.items():
            model.get_parameter(name).mul_(mask)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.5, 0.5)
        model(torch.randn(16, 3, 32, 32))
    return masks


def distance(a, b):
    return float((a.double() - b).norm() / b.norm())


@pytest.mark.parametrize("name", ["vgg19", "resnet20", "resnet50_cifar", "resnet50"])
def test_outputs_are_those_of_the_masked_network(name, tmp_path):
    torch.manual_seed(0)
    model = build(name, num_classes=10)
    masks = masked(model)
    exact = copy.deepcopy(model).double().eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    compiled = compile_sparse(model, masks)
    sparse = [module for module in compiled.modules() if isinstance(module, SparseInference)]
    assert len(sparse) == sum(mask.dim() == 4 for mask in masks.values())
    for batch in (1, 7, 32):
        images = torch.randn(batch, 3, 32, 32)
        with torch.no_grad():
            assert distance(compiled(images), exact(images.double())) < 1e-5
    with torch.no_grad():
        assert distance(compiled.to(memory_format=torch.channels_last)(images), exact(images.double())) < 1e-5
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        ours, dense = compiled(images), copy.deepcopy(model).eval()(images)
    with torch.no_grad():
        expected = exact(images.double())
    assert distance(ours, expected) < 1.2 * distance(dense, expected)
    assert model.training
    assert all(value.equal(before[key]) for key, value in model.state_dict().items())

    save_packed(tmp_path / "packed.safetensors", model.state_dict(), masks)
    weights, loaded_masks = load_packed(tmp_path / "packed.safetensors")
    fresh = build(name, num_classes=10)
    fresh.load_state_dict(weights)
    with torch.no_grad():
        assert compile_sparse(fresh, loaded_masks)(images).equal(compiled(images))


def test_it_follows_shapes_types_copies_and_weights_that_change():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1))
    compiled = compile_sparse(model, masked(model, 0.3))
    images = torch.randn(6, 3, 9, 9)

    def same(net):
        for x in (images, images[:1], images.bfloat16().float(), images[:, :, :5], images):
            assert distance(net(x), exact(x.double())) < 1e-5

    with torch.no_grad():
        exact = copy.deepcopy(model).double().eval()
        same(compiled)
        same(copy.deepcopy(compiled))
        same(pickle.loads(pickle.dumps(compiled)))
        with torch.autocast("cpu", torch.bfloat16):
            assert compiled(images).dtype == torch.bfloat16
        compiled.get_buffer("0.values").mul_(2)
        exact.get_parameter("0.weight").mul_(2)
        same(compiled)
    with torch.inference_mode():
        same(compiled)


def test_a_network_on_the_sparse_kernels_compiles_shrinks_and_can_be_plain_again():
    torch.manual_seed(0)
    model = build("resnet20", num_classes=4).eval()
    masks, images = masked(model, 0.05), torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        expected = model(images)
        accelerate(model, masks)
        assert distance(compile_sparse(model, masks)(images), expected.double()) < 1e-5
        smaller = shrunk(model, masks)
        assert smaller.cuts and distance(smaller.model(images), expected.double()) < 1e-5
        with pytest.raises((pickle.PicklingError, AttributeError)):
            pickle.dumps(model)
        plain_(model)
        again = pickle.loads(pickle.dumps(model))
        assert torch.equal(again(images), expected)
        assert {type(m) for m in model.modules()} == {
            type(m) for m in build("resnet20", num_classes=4).modules()
        }


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_weights_of_another_type_are_refused_before_anything_is_computed(dtype):
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 8, 3))
    masks = masked(model, 0.3)
    with pytest.raises(UserError, match=f"0.weight is {dtype}, and the kernels want float32"):
        compile_sparse(model.to(dtype), masks)


def test_several_threads_may_share_it():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 8, 3))
    compiled = compile_sparse(model, masked(model, 0.3))
    batches = [torch.randn(size, 3, 16, 16) for size in (1, 32, 7, 64)] * 25
    with torch.no_grad():
        expected = [compiled(batch) for batch in batches[:4]] * 25

        def outputs(batch):
            with torch.no_grad():
                return compiled(batch)

        with ThreadPool(2) as pool:
            assert all(map(torch.equal, pool.map(outputs, batches), expected))


def test_another_type_is_refused():
    model = nn.Sequential(nn.Conv2d(3, 16, 3))
    compiled = compile_sparse(model, masked(model, 0.3)).bfloat16()
    with pytest.raises(
        UserError, match=r"torch.bfloat16 on cpu, and the kernels want float32.*torch.autocast"
    ):
        compiled(torch.randn(1, 3, 8, 8))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # read by the compiler itself
def test_torch_compile_sees_operators():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
    compiled = compile_sparse(model, masked(model, 0.3))
    images = torch.randn(4, 3, 9, 9)
    with torch.no_grad():
        expected = compiled(images)
        graph: Any = torch.compile(compiled, backend="aot_eager", fullgraph=True)
        assert graph(images).equal(expected)


def test_batchnorm_and_relu_go_into_the_convolution():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU())
    compiled = compile_sparse(model, masked(model))
    called = [type(compiled.get_submodule(n.target)) for n in compiled.graph.nodes if n.op == "call_module"]
    assert called == [SparseInference, SparseInference]


def test_what_is_used_twice_stays():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.relu = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU()

        def forward(self, x):
            x = self.relu(self.norm(self.conv(x)))
            y = self.conv(x)
            return self.relu(self.norm(y)) + y

    model = Twice()
    masks = masked(model, 0.5)
    exact = copy.deepcopy(model).double().eval()
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        assert distance(compile_sparse(model, masks)(images), exact(images.double())) < 1e-5


def test_what_the_kernels_do_not_know_computes_as_before():
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=2), nn.MaxPool2d(2)
    )
    masks = masked(model, 0.3)
    exact = copy.deepcopy(model).double().eval()
    images = torch.randn(4, 3, 12, 12)
    with torch.no_grad():
        assert distance(compile_sparse(model, masks)(images), exact(images.double())) < 1e-5


def test_what_cannot_be_compiled_is_said():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3)

        def forward(self, x):
            return self.conv(x) if x.sum() > 0 else x

    model = Branches()
    with pytest.raises(UserError, match=r"compile_sparse: torch.fx cannot trace this model's forward: "):
        compile_sparse(model, {"conv.weight": torch.ones_like(model.conv.weight, dtype=torch.bool)})
    with pytest.raises(UserError, match="'other' is no weight of this model"):
        compile_sparse(model, {"other": torch.ones(3, dtype=torch.bool)})


def test_one_image_without_a_batch_is_taken():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    masks = masked(model.train(), 0.5)
    compiled, image = compile_sparse(model, masks), torch.randn(3, 9, 9)
    with torch.no_grad():
        torch.testing.assert_close(compiled(image), model(image))
