"""Loops that skip steps, wrap the model or change it on the way: each works, or is one clear line."""

import copy
import io
import pickle
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.multiprocessing.spawn import spawn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from granet import METHODS, Sparsifier, UserError
from granet.common.distributed import check_masks
from tests.helpers.loops import turn

STEPS = 16
METHOD = {"sf": 0.8, "update_interval": 4}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(32, 16, generator=generator), torch.randint(4, (32,), generator=generator)


def sgd(model: nn.Module, **values: Any) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, **values)


def built(model: nn.Module, optimizer: Any, name: str = "rigl", **others: Any) -> Sparsifier:
    values = {"seed": 0, "total_steps": STEPS} | others
    return Sparsifier(model, optimizer, METHODS[name](**METHOD), **values)


def train(model: nn.Module, optimizer: Any, sparsifier: Sparsifier, steps: range = range(STEPS)) -> None:
    for step in steps:
        inputs, labels = batch(step)
        turn(cross_entropy(model(inputs), labels), optimizer, sparsifier)


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def masked_are_zero(model: nn.Module, sparsifier: Sparsifier) -> bool:
    return not any(model.get_parameter(name)[~mask].any() for name, mask in sparsifier.masks.items())


def plain() -> tuple[nn.Module, Sparsifier]:
    """What the loops below are compared with."""
    model = network()
    optimizer = sgd(model)
    sparsifier = built(model, optimizer)
    train(model, optimizer, sparsifier)
    return model, sparsifier


@pytest.mark.parametrize("set_to_none", [True, False])
@pytest.mark.parametrize("unscales", [True, False])
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", ["rigl", "granet", "snfs"])
def test_a_step_that_the_scaler_skips_does_not_count_and_updates_nothing(name, fused, unscales, set_to_none):
    """A turn overflows where step 4 with its update was due: the next is step 4, as if that turn had not been there."""
    runs = []
    for broken in (None, 3):
        model = network()
        optimizer = sgd(model, fused=fused)
        sparsifier = built(model, optimizer, name)
        scaler = torch.amp.GradScaler(
            "cpu", init_scale=256.0, backoff_factor=1.0 - 1e-9, growth_interval=1000
        )
        turns = [*range(4), *range(4, STEPS)] if broken is None else [0, 1, 2, None, *range(3, STEPS)]
        for step in turns:
            before = copy.deepcopy(sparsifier.masks)
            count = sparsifier.step
            inputs, labels = batch(99 if step is None else step)
            scaler.scale(cross_entropy(model(inputs), labels)).backward()
            if step is None:
                model.get_parameter("0.weight").grad.view(-1)[::3] = float("inf")
            if unscales:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(model.parameters(), 100.0)
            sparsifier.after_backward()
            scaler.step(optimizer)
            scaler.update()
            sparsifier.after_step()
            optimizer.zero_grad(set_to_none=set_to_none)
            if step is None:
                assert same(before, sparsifier.masks)
                assert sparsifier.step == count
        assert (sparsifier.step, sparsifier.num_skipped) == (STEPS, 0)
        assert masked_are_zero(model, sparsifier)
        runs.append((dict(model.named_parameters()), sparsifier.masks))
    assert same(runs[0][1], runs[1][1])
    assert all(torch.allclose(p, runs[1][0][name], atol=1e-5) for name, p in runs[0][0].items())


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("mest", {"update_interval": 2}),
        ("rigl", {"update_interval": 2, "drop_criterion": "mest"}),
        ("sr_ste", {"decay": 0.5, "dense_layers": "none"}),
        ("topkast", {"update_interval": 2, "dense_layers": "none"}),
    ],
)
def test_gradients_that_meet_weights_are_unscaled_first(name, values):
    """By powers of two, so that scaling rounds nothing."""
    runs = []
    for scale in (None, 65536.0):
        model = network()
        optimizer = sgd(model, weight_decay=0.01)
        method = METHODS[name](sf=0.5, **values)
        sparsifier = Sparsifier(model, optimizer, method, seed=0, total_steps=STEPS)
        scaler = torch.amp.GradScaler(
            "cpu", init_scale=scale or 1.0, growth_interval=1000, enabled=bool(scale)
        )
        for step in range(STEPS):
            inputs, labels = batch(step)
            scaler.scale(cross_entropy(model(inputs), labels)).backward()
            scaler.unscale_(optimizer)
            sparsifier.after_backward()
            scaler.step(optimizer)
            scaler.update()
            sparsifier.after_step()
            optimizer.zero_grad()
        runs.append((dict(model.named_parameters()), sparsifier.masks))
    assert same(runs[0][1], runs[1][1]) and same(runs[0][0], runs[1][0])


@pytest.mark.parametrize("set_to_none", [False, True])
def test_what_overflows_may_be_no_masked_weight(set_to_none):
    """A skipped turn leaves its gradients where they are zeroed in place: none of them reaches the next update."""
    runs = []
    for broken in (False, True):
        model = network()
        optimizer = sgd(model)
        sparsifier = built(model, optimizer, "rigl")
        scaler = torch.amp.GradScaler(
            "cpu", init_scale=256.0, backoff_factor=1.0 - 1e-9, growth_interval=1000
        )
        for step in [0, 1, 2, *([None] if broken else []), *range(3, STEPS)]:
            inputs, labels = batch(99 if step is None else step)
            scaler.scale(cross_entropy(model(inputs), labels)).backward()
            if step is None:
                model.get_parameter("0.bias").grad[0] = float("inf")
            sparsifier.after_backward()
            scaler.step(optimizer)
            scaler.update()
            sparsifier.after_step()
            optimizer.zero_grad(set_to_none=set_to_none)
        runs.append(sparsifier.masks)
    assert same(*runs)


def test_gradients_may_be_zeroed_at_the_head_of_the_loop():
    expected, reference = plain()
    model = network()
    optimizer = sgd(model)
    sparsifier = built(model, optimizer)
    for step in range(STEPS):
        optimizer.zero_grad()
        inputs, labels = batch(step)
        cross_entropy(model(inputs), labels).backward()
        sparsifier.after_backward()
        optimizer.step()
        sparsifier.after_step()
    assert same(sparsifier.masks, reference.masks)
    assert same(model.state_dict(), expected.state_dict())


def test_turns_without_an_optimizer_step_accumulate():
    """As accelerate has it: all five calls for every part of a batch, and the optimizer steps at the last."""
    masks = []
    for parts in (1, 4):
        model = network().double()
        optimizer = sgd(model)
        sparsifier = built(model, optimizer)
        for step in range(STEPS):
            inputs, labels = batch(step)
            chunks = list(zip(inputs.double().chunk(parts), labels.chunk(parts), strict=True))
            for number, (x, y) in enumerate(chunks, 1):
                (cross_entropy(model(x), y) / parts).backward()
                sparsifier.after_backward()
                if number == parts:
                    optimizer.step()
                sparsifier.after_step()
                if number == parts:
                    optimizer.zero_grad()
        assert sparsifier.step == STEPS
        masks.append(sparsifier.masks)
    assert same(*masks)


def test_accelerate_accumulates_and_steps_as_it_likes():
    accelerate = pytest.importorskip("accelerate")
    expected, reference = plain()
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
    raw = network()
    model, optimizer = accelerator.prepare(raw, sgd(raw))
    sparsifier = built(accelerator.unwrap_model(model), optimizer)
    for step in range(STEPS):
        inputs, labels = batch(step)
        for x, y in zip(inputs.chunk(2), labels.chunk(2), strict=True):
            with accelerator.accumulate(model):
                accelerator.backward(cross_entropy(model(x), y))
                sparsifier.after_backward()
                optimizer.step()
                sparsifier.after_step()
                optimizer.zero_grad()
    assert sparsifier.step == STEPS
    assert same(sparsifier.masks, reference.masks)
    assert all(
        torch.allclose(p, q, atol=1e-5) for p, q in zip(raw.parameters(), expected.parameters(), strict=True)
    )


@pytest.mark.parametrize("order", ["before", "after", "in place"])
def test_torch_compile_may_come_before_or_after(order):
    """The parameters are the same objects: give the Sparsifier the plain model, and the masks are those of any run."""
    expected, reference = plain()
    model = network()
    optimizer = sgd(model)
    compiled: nn.Module = model
    if order == "in place":
        model.compile(backend="eager")
    elif order == "before":
        compiled = torch.compile(model, backend="eager")  # pyright: ignore[reportAssignmentType]
    sparsifier = built(model, optimizer)
    if order == "after":
        compiled = torch.compile(model, backend="eager")  # pyright: ignore[reportAssignmentType]
    train(compiled, optimizer, sparsifier)
    assert same(sparsifier.masks, reference.masks)
    assert same(model.state_dict(), expected.state_dict())


def test_a_compiled_model_has_names_of_its_own():
    model = torch.compile(network(), backend="eager")
    optimizer = sgd(model)  # pyright: ignore[reportArgumentType]
    sparsifier = built(model, optimizer)  # pyright: ignore[reportArgumentType]
    train(model, optimizer, sparsifier)  # pyright: ignore[reportArgumentType]
    assert list(sparsifier.masks) == ["_orig_mod.0.weight", "_orig_mod.2.weight"]
    assert masked_are_zero(model, sparsifier)  # pyright: ignore[reportArgumentType]


def test_an_exponential_average_follows_and_is_masked_by_one_call():
    model = network()
    optimizer = sgd(model)
    sparsifier = built(model, optimizer)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.5))
    for step in range(STEPS):
        train(model, optimizer, sparsifier, range(step, step + 1))
        average.update_parameters(model)
    by_name = {name: value.clone() for name, value in average.module.named_parameters()}
    assert not masked_are_zero(average.module, sparsifier)
    sparsifier.mask_(average.module)
    sparsifier.mask_(by_name)
    assert masked_are_zero(average.module, sparsifier)
    assert same(by_name, dict(average.module.named_parameters()))


@pytest.fixture
def alone(tmp_path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("order", ["before", "after"])
def test_data_parallel_may_come_before_or_after(order):
    expected, reference = plain()
    model = network()
    parallel: nn.Module = DistributedDataParallel(model) if order == "before" else model
    optimizer = sgd(model)
    sparsifier = built(model, optimizer)
    if order == "after":
        parallel = DistributedDataParallel(model)
    train(parallel, optimizer, sparsifier)
    assert same(sparsifier.masks, reference.masks)
    assert same(model.state_dict(), expected.state_dict())


def _half_of_each_batch(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.set_num_threads(1)
    model = network()
    parallel = DistributedDataParallel(model, gradient_as_bucket_view=True)
    optimizer = sgd(model)
    sparsifier = built(model, optimizer)
    for step in range(STEPS):
        inputs, labels = batch(step)
        first, second = (slice(start, start + 8) for start in (rank * 16, rank * 16 + 8))
        with parallel.no_sync():
            (cross_entropy(parallel(inputs[first]), labels[first]) / 2).backward()
        turn(cross_entropy(parallel(inputs[second]), labels[second]) / 2, optimizer, sparsifier)
    check_masks(sparsifier.masks)
    if rank == 0:
        torch.save((model.state_dict(), sparsifier.masks), f"{folder}/result.pt")
    dist.destroy_process_group()


def test_two_processes_have_the_masks_of_one_though_each_accumulates(tmp_path):
    expected, reference = plain()
    spawn(_half_of_each_batch, (str(tmp_path),), nprocs=2)
    weights, masks = torch.load(tmp_path / "result.pt")
    assert same(masks, reference.masks)
    assert all(torch.allclose(p, weights[name], atol=1e-5) for name, p in expected.state_dict().items())


@pytest.mark.usefixtures("alone")
def test_sharded_weights_are_one_line():
    model = network()
    for layer in (model[0], model[2], model):
        fully_shard(layer, mesh=dist.device_mesh.init_device_mesh("cpu", (1,)))
    with pytest.raises(
        UserError, match=r"^0.weight is a shard of a weight \(fully_shard.*DistributedDataParallel$"
    ):
        built(model, sgd(model))


@pytest.mark.usefixtures("alone")
def test_sharding_afterwards_is_one_line():
    model = network()
    sparsifier = built(model, sgd(model))
    fully_shard(model, mesh=dist.device_mesh.init_device_mesh("cpu", (1,)))
    optimizer = sgd(model)
    cross_entropy(model(batch(0)[0]), batch(0)[1]).backward()
    optimizer.step()
    with pytest.raises(UserError, match=r"^0\.weight is another tensor than when the Sparsifier was built"):
        sparsifier.after_backward()


def unfreeze(model: nn.Sequential, optimizer: torch.optim.Optimizer) -> None:
    model[0].requires_grad_(True)


def add(model: nn.Sequential, optimizer: torch.optim.Optimizer) -> None:
    model.append(nn.Linear(4, 4))
    optimizer.add_param_group({"params": model[3].parameters()})


def replace(model: nn.Sequential, optimizer: torch.optim.Optimizer) -> None:
    model[2] = nn.Linear(64, 4)
    optimizer.add_param_group({"params": model[2].parameters()})


@pytest.mark.parametrize("name", ["rigl", "granet", "str", "dpf"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (unfreeze, "^0.weight was frozen when the Sparsifier was built and is trained now, without a mask; "),
        (add, "^3.weight has come to the model and the optimizer since the Sparsifier was built"),
        (replace, "^2.weight (is another tensor|has come to the model)"),
    ],
)
def test_weights_that_begin_to_be_trained_are_told(change: Callable, message, name):
    model = network()
    model[0].requires_grad_(change is not unfreeze)
    optimizer = sgd(model)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* of the weights stay dense")
        sparsifier = built(model, optimizer, name)
    train(model, optimizer, sparsifier, range(2))
    change(model, optimizer)
    with pytest.raises(UserError, match=message):
        train(model, optimizer, sparsifier, range(2, 4))


def test_what_is_no_matrix_may_come_later():
    """A bias, a norm, a layer that was excluded from the start."""
    model = network()
    model[0].requires_grad_(False)
    optimizer = sgd(model)
    sparsifier = built(model, optimizer, exclude="0")
    train(model, optimizer, sparsifier, range(2))
    model[0].requires_grad_(True)
    model.append(nn.LayerNorm(4))
    optimizer.add_param_group({"params": model[3].parameters()})
    train(model, optimizer, sparsifier, range(2, STEPS))
    assert masked_are_zero(model, sparsifier)
    assert model.get_parameter("0.weight").all()


def test_layers_that_are_frozen_later_keep_their_masks_and_go_on_when_they_are_not():
    model = network()
    optimizer = sgd(model)
    sparsifier = built(model, optimizer)
    for step in range(STEPS):
        model[0].requires_grad_(step >= 8)
        mask = sparsifier.masks["0.weight"].clone()
        train(model, optimizer, sparsifier, range(step, step + 1))
        assert step >= 8 or torch.equal(mask, sparsifier.masks["0.weight"])
        assert masked_are_zero(model, sparsifier)
    assert sum(sparsifier.num_active.values()) == 256


@pytest.mark.parametrize("name", ["granet", "gmp"])
def test_layers_that_are_frozen_later_are_pruned_with_the_others_and_grow_nothing(name):
    model = network()
    optimizer = sgd(model)
    sparsifier = built(model, optimizer, name)
    train(model, optimizer, sparsifier, range(4))
    model[0].requires_grad_(False)
    before, mask = model.get_parameter("0.weight").clone(), sparsifier.masks["0.weight"].clone()
    train(model, optimizer, sparsifier, range(4, STEPS))
    after = sparsifier.masks["0.weight"]
    assert after.sum() < mask.sum() and not (after & ~mask).any()
    assert torch.equal(model.get_parameter("0.weight"), before * after)
    assert sum(sparsifier.num_active.values()) == 256


def test_a_sparsifier_is_saved_as_its_state_and_not_pickled():
    """Methods are made of functions."""
    model = network()
    optimizer = sgd(model)
    sparsifier = built(model, optimizer)
    train(model, optimizer, sparsifier, range(6))
    with pytest.raises((pickle.PicklingError, AttributeError)):  # as the Python is
        pickle.dumps(sparsifier)
    model, optimizer, state = pickle.loads(pickle.dumps((model, optimizer, sparsifier.state_dict())))
    sparsifier = built(model, optimizer)
    sparsifier.load_state_dict(state)
    train(model, optimizer, sparsifier, range(6, STEPS))
    expected, reference = plain()
    assert same(model.state_dict(), expected.state_dict())
    assert same(sparsifier.masks, reference.masks)


@pytest.mark.parametrize("name", ["rigl", "granet"])
def test_growth_goes_by_the_mean_gradient_of_several_steps_on_request(name):
    """At a learning rate of zero: the masks are those of one batch that holds all of theirs; resumed within."""
    masks = []
    for together in (False, True):
        model = network().double()
        optimizer = torch.optim.SGD(model.parameters(), 0.0)
        steps = {} if together else {"gradient_steps": 3}
        sparsifier = built(model, optimizer, name, **steps)
        for step in range(1, STEPS + 1):
            parts = [batch(number) for number in (range(step - 2, step + 1) if together else [step])]
            inputs, labels = torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])
            turn(cross_entropy(model(inputs.double()), labels), optimizer, sparsifier)
            assert sparsifier.reads_gradient_at(step) == (step % 4 == 0 or (not together and step % 4 != 1))
            if step == 7 and not together:
                torch.save(sparsifier.state_dict(), file := io.BytesIO())
                file.seek(0)
                sparsifier = built(model, optimizer, name, **steps)
                sparsifier.load_state_dict(torch.load(file))
        masks.append(sparsifier.masks)
    assert same(*masks)


@pytest.mark.parametrize("number", [0, 5])
def test_more_gradients_than_there_are_between_two_updates_are_refused(number):
    with pytest.raises(
        UserError, match=f"gradient_steps={number} must be at least 1, and at most update_interval=4"
    ):
        built(model := network(), sgd(model), gradient_steps=number)
