"""What a GPU asks of the library, checked without one: no two devices in one operation, no wait in a plain step."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import nn

from granet import METHODS, Sparsifier, UserError
from granet.common.progress import TrainingProgress
from granet.data.loaders import page_locked, sent
from granet.deploy.compiled import compile_sparse
from granet.deploy.packed import load_packed, save_packed
from granet.deploy.shrink import shrink
from granet.inits.random import check_scores
from granet.kernels.accelerate import accelerate
from granet.maskable import maskable_weights
from granet.masks import num_active, shapes
from granet.models import build
from granet.sparsifier.channels import whole
from granet.sparsifier.coupling import groups_within
from granet.studies.plasticity import static
from granet.training.bookkeeping import Bookkeeping
from granet.training.device import pick_device, pick_precision
from granet.training.loop import fit, train_epoch
from granet.training.recalibration import recalibrate
from granet.training.run import Run
from tests.granet import test_methods as methods
from tests.granet.training.test_recipe import EVERYTHING
from tests.helpers.on_device import all_on, train_on
from tests.helpers.pretended_gpu import CPU, CUDA, pretended_gpu
from tests.helpers.training import GRANET, make_run

WAITS_PER_LAYER = 10
"""Of a mask update, at most, and as many for all layers together."""


def test_what_the_pretended_gpu_refuses_and_counts():
    with pretended_gpu() as gpu:
        here, host = torch.ones(3, device="cuda"), torch.ones(3)
        with pytest.raises(AssertionError, match="add: a tensor of the host"):
            _ = here + host
        with pytest.raises(AssertionError, match="rand: a generator of cpu"):
            torch.rand(2, device="cuda", generator=torch.Generator())
        with pytest.raises(TypeError, match="numpy"):
            here.numpy()
        assert (here + torch.tensor(1.0)).device == CUDA and not gpu.syncs.total()
        assert host.pin_memory().to(CUDA, non_blocking=True).device == CUDA
        assert here.to("cpu", non_blocking=True).device == CPU
        assert not gpu.syncs.total()
        assert len(host.to(CUDA, non_blocking=True).cpu()) == len(here[here > 0]) == here.sum().item()
        assert here.any()
        assert gpu.syncs == {
            "copy to the GPU": 1,
            "copy to the host": 1,
            "index by a mask, or from the host": 1,
            "_local_scalar_dense": 2,
        }


@pytest.mark.parametrize("name", [*METHODS, "granet si=0.5", "imp lr"])
def test_every_method_trains_on_one_device_to_the_same_bits_and_waits_at_updates_alone(name):
    plain, updates = Counter(), []

    def note(sparsifier: Sparsifier) -> None:
        if sparsifier.updates_at(sparsifier.step):
            updates.append(gpu.syncs.total())
        else:
            plain.update(+gpu.syncs)

    with pretended_gpu() as gpu:
        model, sparsifier = train_on(CUDA, name, gpu.syncs.clear, note)
        weights = {key: value.cpu() for key, value in model.state_dict().items()}
        masks = {key: mask.cpu() for key, mask in sparsifier.masks.items()}
    assert not plain
    assert max(updates, default=0) <= WAITS_PER_LAYER * (len(masks) + 1)
    if name in ("deep_r", "mest"):  # draw for all weights on a GPU, and on the CPU for those that need it
        return
    here, optimizer, expected = methods.make(name)
    methods.train(here, optimizer, expected, range(methods.STEPS))
    for key, value in here.state_dict().items():
        assert torch.equal(weights[key], value), key
    for key, mask in expected.masks.items():
        assert torch.equal(masks[key], mask), key


def test_filters_and_what_is_left_of_them_stay_on_one_device(tmp_path):
    with pretended_gpu():
        model = build("resnet20", num_classes=10, width=8).to(CUDA)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        sparsifier = Sparsifier(model, optimizer, static("filter-0.5", model), seed=0, total_steps=1)
        smaller = shrink(model, sparsifier.masks)
        assert all_on(CUDA, [*sparsifier.masks.values(), *smaller.state_dict().values()])
        save_packed(tmp_path / "packed.safetensors", model.state_dict(), sparsifier.masks)
        here = {name: mask.cpu() for name, mask in sparsifier.masks.items()}
    weights, masks = load_packed(tmp_path / "packed.safetensors")
    assert weights["conv1.weight"].shape == masks["conv1.weight"].shape
    assert all(torch.equal(masks[name], mask) for name, mask in here.items())


def test_masks_are_counted_by_one_question():
    with pretended_gpu() as gpu:
        masks = {"a": torch.ones(3, dtype=torch.bool), "b": torch.zeros(2, 2, dtype=torch.bool)}
        there = {name: mask.to(CUDA) for name, mask in masks.items()}
        gpu.syncs.clear()
        assert num_active(there) == num_active(masks) == {"a": 3, "b": 0} and num_active({}) == {}
        assert gpu.syncs.total() == 1


@pytest.mark.parametrize("method", ["dense", "granet"])
def test_an_epoch_of_the_pipeline_waits_for_its_order_and_its_masks_alone(digits, monkeypatch, method):
    """4 steps an epoch, the last with 8 images, in bf16; the masks change after every second step."""
    after_update, steps = Bookkeeping.after_update, {}

    def noted(book: Bookkeeping) -> None:
        after_update(book)
        steps[book._step] = dict(+gpu.syncs)
        gpu.syncs.clear()

    monkeypatch.setattr(Bookkeeping, "after_update", noted)
    monkeypatch.setattr(TrainingProgress, "due", lambda progress: False)
    with pretended_gpu() as gpu, TrainingProgress("test", 4, silent=True) as progress:
        device = pick_device("auto")
        assert device.type == "cuda" and pick_precision("auto", device) == "bf16"
        row = METHODS[method](**({} if method == "dense" else GRANET))
        run = make_run(digits, device=device, method=row, precision="auto")
        gpu.syncs.clear()
        history = train_epoch(run, 0, progress)
        gpu.syncs.clear()
        train_epoch(run, 1, progress)
        assert all_on(CUDA, [*run.model.state_dict().values(), *run.sparsifier.masks.values()])
    assert 0 < history["test_accuracy"] < 1
    assert steps[1] == {"copy to the GPU": 3}  # order of the epoch; mean and deviation of pixels, which stay
    assert steps[3] == {} and steps[5] == {"copy to the GPU": 1} and steps[7] == {}
    num_waits = sum(steps[6].values())
    assert (
        0 < num_waits <= WAITS_PER_LAYER * (len(run.sparsifier.masks) + 1)
        if method == "granet"
        else not num_waits
    )


def test_no_step_of_a_recipe_waits(digits, monkeypatch):
    """Clipping, averaging, holes and mixing. Of RandAugment torchvision's turns and shears do, for a matrix each."""
    after_update, waits = Bookkeeping.after_update, {}

    def noted(book: Bookkeeping) -> None:
        after_update(book)
        waits[book._step] = dict(+gpu.syncs)
        gpu.syncs.clear()

    monkeypatch.setattr(Bookkeeping, "after_update", noted)
    monkeypatch.setattr(TrainingProgress, "due", lambda progress: False)
    with pretended_gpu() as gpu, TrainingProgress("test", 4, silent=True) as progress:
        run = make_run(digits, device=CUDA, method=METHODS["dense"](), **EVERYTHING | {"randaugment": 0})
        train_epoch(run, 0, progress)
        assert all_on(CUDA, run.average.state_dict()["average"].values())
    assert waits[2] == waits[3] == waits[4] == {}


def test_a_run_that_was_interrupted_within_an_epoch_ends_as_on_the_cpu(digits, tmp_path):
    """fit() with checkpoints after every step of two epochs of four; it ends in the third step of the second one."""

    def fitted(folder: Path, device: torch.device, stop_at: int | None = None) -> Run:
        run = make_run(digits, device=device, epochs=2, checkpoint_s=0.0)
        updates_at = run.sparsifier.updates_at
        if stop_at:
            run.sparsifier.updates_at = lambda step: (
                updates_at(step) if step != stop_at else pytest.fail("killed")
            )
        fit(run, history_csv=folder / "history.csv", checkpoint_path=folder / "last.pt")
        return run

    expected = fitted(tmp_path / "cpu", CPU)
    with pretended_gpu():
        with pytest.raises(pytest.fail.Exception):
            fitted(tmp_path / "gpu", CUDA, stop_at=7)
        run = fitted(tmp_path / "gpu", CUDA)
        weights = {name: value.cpu() for name, value in run.model.state_dict().items()}
    for name, value in expected.model.state_dict().items():
        assert torch.equal(weights[name], value), name


def test_a_batch_that_the_host_decodes_is_not_waited_for():
    with pretended_gpu() as gpu:
        batch = torch.arange(24).view(2, 2, 2, 3)
        copied = sent(batch, CUDA)
        assert copied.device == CUDA and not gpu.syncs.total() and torch.equal(copied.cpu(), batch)
    assert sent(batch, CPU).data_ptr() != batch.data_ptr()


def test_scores_of_two_devices_are_looked_at():
    with pretended_gpu():
        scores = {"a": torch.ones(2, device="cuda"), "b": torch.ones(2)}
        with pytest.raises(UserError, match="all 4 weights score 1"):
            check_scores(scores, "init")
        scores["b"][0] = 2.0
        assert check_scores(scores, "init") is scores
        scores["b"][0] = torch.nan
        with pytest.raises(UserError, match="NaN or infinite"):
            check_scores(scores, "init")


def test_what_lies_in_page_locked_memory_is_copied_before_it_is_sent(monkeypatch):
    """FFCV's buffers do, and its thread fills them again while the GPU may still be reading."""
    empty, buffer = torch.empty, torch.arange(6, dtype=torch.uint8).view(2, 3)
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda tensor: tensor is buffer)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    monkeypatch.setattr(torch, "empty", lambda *args, pin_memory, **keys: empty(*args, **keys))
    private = page_locked(buffer)
    assert torch.equal(private, buffer) and private.dtype == torch.uint8
    buffer.zero_()
    assert private.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("name", ["snip", "force", "grasp", "synflow", "obd"])
def test_batches_of_a_data_loader_lie_on_the_host(name):
    """The masks are those of batches on the GPU."""
    images, labels = torch.randn(40, 3, 8, 8), torch.arange(40) % 10
    with pretended_gpu():
        masks = []
        for device in (CPU, CUDA):
            torch.manual_seed(0)
            model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10)).to(CUDA)
            batches = [(images.to(device), labels.to(device))]
            optimizer = torch.optim.SGD(model.parameters(), 0.1)
            given = {"seed": 0, "total_steps": 9, "batches": batches}
            sparsifier = Sparsifier(model, optimizer, METHODS[name](sf=0.8), **given)
            masks.append({name: mask.cpu() for name, mask in sparsifier.masks.items()})
    assert all(torch.equal(masks[0][name], mask) for name, mask in masks[1].items())


def test_batchnorm_takes_its_statistics_of_batches_on_the_host():
    with pretended_gpu():
        norm = nn.BatchNorm1d(1).to(CUDA)
        recalibrate(norm, [(torch.tensor([[0.0], [4.0]]), torch.zeros(2))])
        assert norm.running_mean.cpu().item() == 2


def test_masks_that_are_still_on_the_gpu_when_the_network_has_left_it():
    conv = nn.Conv2d(3, 8, 3, bias=False)
    model = nn.Sequential(conv, nn.ReLU())
    mask = torch.rand(8, 3, 3, 3, generator=torch.Generator().manual_seed(0)) > 0.7
    with torch.no_grad():
        conv.weight.mul_(mask)
    with pretended_gpu():
        masks = {"0.weight": mask.to(CUDA)}
        smaller = compile_sparse(model, masks)
        with pytest.raises(UserError, match=r"mask of 0\.weight is on cuda:0, its weight on the CPU"):
            accelerate(model, masks)
    images = torch.randn(2, 3, 8, 8)
    assert torch.allclose(smaller(images), model(images), atol=1e-6)


def test_a_state_loaded_onto_the_gpu_has_its_channels_on_the_host():
    model = build("vgg11", num_classes=10)
    channels = whole(tuple(groups_within(model, maskable_weights(model))), shapes(maskable_weights(model)))
    with pretended_gpu():
        state = {
            key: {name: tensor.to(CUDA) for name, tensor in tensors.items()}
            for key, tensors in channels.state_dict().items()
        }
        loaded = channels.at({"channels": state})
        assert all_on(CPU, [*loaded.index.values(), *loaded.alive.values()])
