"""One run in two processes, with real process groups (gloo, on the CPU): what one process computes, and how it ends."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from granet import METHODS, UserError
from granet.common import distributed
from granet.data import DataConfig, open_data, prepare
from granet.training.config import TrainConfig
from granet.training.loop import backward
from granet.training.run import prepare_run
from tests.helpers.image_folder import write_photographs
from tests.helpers.needs import needs_ffcv

ROOT = Path(__file__).parents[3]
FIT = ROOT / "tests/helpers/parallel_fit.py"


def fit(digits, out, *options, processes=1, check=True):
    """Run the helper; 200 images in batches of 40 for 10 epochs are 50 steps, with a mask update every 5."""
    python = [sys.executable]
    if processes > 1:
        python = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={processes}",
        ]
    done = subprocess.run(
        [*python, str(FIT), str(digits), str(out), *options],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def weights(out):
    """Parameters alone: BatchNorm's running statistics are those of the first process's images."""
    state = torch.load(out / "model.pt")
    return {
        name: value for name, value in state.items() if "running" not in name and "num_batches" not in name
    }


def masks(out, rank=0):
    return json.loads((out / f"masks-{rank}.json").read_text())


@pytest.mark.parametrize("method", ["granet", pytest.param("snip", marks=pytest.mark.soak)])
def test_two_processes_compute_what_one_does(digits, tmp_path, method):
    """The one process takes its batch in two parts, so that BatchNorm sees the same images together."""
    one, two = tmp_path / "one", tmp_path / "two"
    fit(digits, one, "micro_batch=20", f"method={method}")
    fit(digits, two, f"method={method}", processes=2)
    assert masks(one) == masks(two, 0) == masks(two, 1)
    assert len(masks(one)) == (11 if method == "granet" else 1)  # every update, and the end
    for name, value in weights(one).items():
        assert torch.allclose(value, weights(two)[name], rtol=0, atol=1e-5), name


def test_two_processes_follow_a_recipe_as_one_does(digits, tmp_path):
    """Each clips by the norm that all have, draws what all draw, and mixes the images that it sees together."""
    recipe = (
        "clip_norm=0.5",
        "ema_decay=0.8",
        "randaugment=2",
        "erasing=0.5",
        "mixup=0.8",
        "cutmix=1.0",
        "epochs=3",
    )
    one, two = tmp_path / "one", tmp_path / "two"
    fit(digits, one, "micro_batch=20", *recipe)
    fit(digits, two, *recipe, processes=2)
    assert masks(one) == masks(two, 0) == masks(two, 1)
    for name, value in weights(one).items():
        assert torch.allclose(value, weights(two)[name], rtol=0, atol=1e-5), name


@pytest.mark.soak
@needs_ffcv
def test_two_processes_see_the_crops_that_one_sees(tmp_path):
    """Photographs, of which each process decodes its share: 16 images in batches of 8."""
    root = write_photographs(tmp_path / "photographs")
    config = DataConfig(root=str(root), train_size=16, image_size=32)
    prepare("imagenet", tmp_path / "prepared", config)
    one, two = tmp_path / "one", tmp_path / "two"
    options = "loader=ffcv", "epochs=5", "batch_size=8"
    fit(tmp_path / "prepared", one, "micro_batch=4", *options)
    fit(tmp_path / "prepared", two, *options, processes=2)
    assert masks(one) == masks(two, 0) == masks(two, 1)
    for name, value in weights(one).items():
        assert torch.allclose(value, weights(two)[name], rtol=0, atol=1e-5), name


def test_accumulated_gradients_are_those_of_the_whole_batch(digits, tmp_path):
    """Without BatchNorm's statistics in between, parts change nothing; here they do, so only sizes are compared."""
    fit(digits, tmp_path / "parts", "micro_batch=7", "epochs=2")
    rows = (tmp_path / "parts" / "history.csv").read_text().splitlines()
    assert rows[-1].startswith("2,10,")  # 5 steps an epoch, however many parts


def test_every_image_is_evaluated_once(digits, tmp_path):
    """100 test images in shares: accuracies are whole percents."""
    fit(digits, tmp_path, "epochs=2", processes=2)
    header, _, row = (line.split(",") for line in (tmp_path / "history.csv").read_text().splitlines())
    accuracy = 100 * float(dict(zip(header, row, strict=True))["test_accuracy"])
    assert accuracy == pytest.approx(round(accuracy), abs=1e-6)


def test_processes_without_an_image_take_part_all_the_same(digits, tmp_path):
    """200 images in batches of 66: the last holds 2, and the third process trains on one that does not count."""
    fit(digits, tmp_path, "epochs=2", "batch_size=66", processes=3)
    assert masks(tmp_path, 0) == masks(tmp_path, 1) == masks(tmp_path, 2)
    header, _, row = (line.split(",") for line in (tmp_path / "history.csv").read_text().splitlines())
    correct = 200 * float(dict(zip(header, row, strict=True))["train_accuracy"])
    assert correct == pytest.approx(round(correct), abs=1e-6)


def test_an_image_that_does_not_count_has_no_gradient(digits, monkeypatch):
    data = open_data(digits, loader="resident", batch_size=64, seed=0, device="cpu")
    linear, config = torch.nn.Linear(3072, 10), TrainConfig(epochs=1)
    model = torch.nn.Sequential(torch.nn.Flatten(), linear)
    run = prepare_run("test", model, METHODS["dense"](), data, config, seed=0, device=torch.device("cpu"))
    monkeypatch.setattr(distributed, "world", lambda: distributed.World(2, 3))
    backward(run, torch.randn(1, 3, 32, 32), torch.zeros(1, dtype=torch.int64), num_images=2)
    assert linear.weight.grad is not None and not linear.weight.grad.any()


def started(monkeypatch, **variables):
    """The environment of a process that torchrun has started."""
    usual = {"RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    for name, value in (usual | variables).items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"WORLD_SIZE": "2"},
            "WORLD_SIZE=2 without RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT: start with torchrun",
        ),
        (
            {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"},
            "WORLD_SIZE=2 without MASTER_ADDR, MASTER_PORT",
        ),
        (
            {"SLURM_STEP_NUM_TASKS": "4"},
            "SLURM_STEP_NUM_TASKS=4: Slurm has started 4 processes, and each would",
        ),
    ],
)
def test_variables_that_are_set_in_part(monkeypatch, variables, message):
    for name in distributed.LAUNCHED:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=re.escape(message)), distributed.joined():
        pass


@pytest.mark.parametrize(
    "variables", [{"RANK": "3"}, {"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, {"WORLD_SIZE": "1"}]
)
def test_variables_that_say_nothing_of_several_processes_change_nothing(monkeypatch, variables):
    for name in distributed.LAUNCHED:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with distributed.joined() as world:
        assert world == distributed.ALONE


def test_a_world_size_that_is_no_number(monkeypatch):
    started(monkeypatch, WORLD_SIZE="two")
    with pytest.raises(UserError, match="WORLD_SIZE=two is no number"), distributed.joined():
        pass


@pytest.mark.parametrize(
    ("device", "processes", "message"),
    [
        ("auto", "3", "train.num_processes=3 needs as many GPUs, and there are 2"),
        ("cuda:1", "2", "train.device='cuda:1' names one device for several processes"),
    ],
)
def test_processes_that_cannot_have_a_gpu_each(monkeypatch, device, processes, message):
    started(monkeypatch, WORLD_SIZE=processes, LOCAL_WORLD_SIZE=processes)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match=re.escape(message)), distributed.joined(device):
        pass


@pytest.mark.parametrize(("device", "backend"), [("cpu", "gloo"), ("auto", "nccl"), ("cuda", "nccl")])
def test_processes_on_the_cpu_do_not_meet_by_nccl(monkeypatch, device, backend):
    calls = []
    started(monkeypatch, WORLD_SIZE="2", LOCAL_RANK="1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda index: calls.append(index))
    monkeypatch.setattr(distributed.dist, "init_process_group", lambda name, timeout: calls.append(name))
    monkeypatch.setattr(distributed.dist, "destroy_process_group", lambda: None)
    with distributed.joined(device):
        assert calls == ([1, backend] if backend == "nccl" else [backend])


def test_a_killed_process_ends_the_others_at_once(digits, tmp_path):
    started = time.monotonic()
    done = fit(digits, tmp_path, "epochs=400", "kill=2", processes=2, check=False)
    assert time.monotonic() - started < 60  # start-up included
    assert done.returncode != 0
    assert re.search(r"rank\s*: 1 .*\n.*exitcode\s*: -9", done.stderr), done.stderr[-2000:]


def test_masks_that_differ_end_the_run_with_the_layers_name(digits, tmp_path):
    done = fit(digits, tmp_path, "spoil=5", processes=2, check=False)
    assert done.returncode != 0
    assert "layer1.0.conv1.weight: the 2 processes of this run have different masks" in done.stderr


def test_a_loss_that_is_infinite_in_one_process_stops_all_at_the_same_step(digits, tmp_path):
    """5 steps an epoch; no gradient tells the other process of it."""
    fit(digits, tmp_path, "epochs=3", "overflow=8", processes=2)
    first, second = ((tmp_path / f"diverged-{rank}").read_text() for rank in range(2))
    assert first == second
    assert first.startswith("test: the training loss is inf in epoch 2 (step 8, ")
    assert first.endswith(f"its last checkpoint is {tmp_path / 'last.pt'} (epoch 1, step 5)")


@pytest.mark.soak
def test_first_masks_are_those_of_the_first_process(digits, tmp_path):
    """Here they differ by their seeds; in earnest, by the last digits of scores from images on two kinds of device."""
    one, two = tmp_path / "one", tmp_path / "two"
    fit(digits, one, "method=static", "epochs=1")
    fit(digits, two, "method=static", "epochs=1", "doubt=true", processes=2)
    assert masks(one) == masks(two, 0) == masks(two, 1)


def test_an_interrupted_run_goes_on_with_two_processes(digits, tmp_path):
    whole, again = tmp_path / "whole", tmp_path / "again"
    fit(digits, whole, "epochs=4", processes=2)
    fit(digits, again, "epochs=4", "kill=2", processes=2, check=False)
    done = fit(digits, again, "epochs=4", processes=2)
    assert "goes on after epoch" in done.stdout
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(again)[name]), name


@pytest.mark.soak
def test_processes_that_find_different_checkpoints_are_refused(digits, tmp_path):
    fit(digits, tmp_path, "epochs=2", processes=2)
    done = fit(digits, tmp_path, "epochs=2", "elsewhere=true", processes=2, check=False)
    assert done.returncode != 0
    assert "last.pt: the processes of this run read different states there" in done.stderr


def test_alone_there_is_nobody_to_ask():
    assert distributed.world() == distributed.World(0, 1)
    model, values = torch.nn.Linear(2, 2), torch.ones(3)
    assert distributed.spread(model) is model
    assert distributed.add_up(values) is values
    assert distributed.world().share(3) == slice(0, 3)
    assert distributed.told("x") == "x"
    init = METHODS["static"](sf=0.9).init
    assert init is not None and distributed.agreed(init) is init
    distributed.check_masks({"w": torch.tensor([True])})


@pytest.mark.parametrize("num_images, size", [(7, 3), (128, 3), (2, 4), (0, 2)])
def test_shares_cover_a_batch_without_overlap(num_images, size):
    batch = torch.arange(num_images)
    parts = [batch[distributed.World(rank, size).share(num_images)] for rank in range(size)]
    assert torch.equal(torch.cat(parts), batch)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert [len(part) for part in parts] == sorted(map(len, parts), reverse=True)


@pytest.mark.parametrize("processes, threads", [("1", 6), ("4", 1), ("12", 1)])
def test_processes_of_one_machine_share_its_cores(monkeypatch, processes, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(6))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert distributed.own_threads() == threads
