import copy
import csv
import math
from pathlib import Path

import pytest
import torch

from granet import METHODS, UserError
from granet.data import open_data
from granet.flops import training_flops
from granet.methods import fixed
from granet.models import build
from granet.training.config import TrainConfig
from granet.training.history import TIME_COLUMNS
from granet.training.loop import fit
from granet.training.run import Run, pick_device, pick_precision, prepare_run

CPU = torch.device("cpu")
GRANET = {"sf": 0.9, "update_interval": 2}


def make_run(folder: Path, *, loader="resident", num_workers=0, method=None, seed=0, **config) -> Run:
    settings = {"epochs": 3, "batch_size": 64, "precision": "fp32"} | config
    data = open_data(
        folder,
        loader=loader,
        batch_size=settings["batch_size"],
        seed=seed,
        num_workers=num_workers,
        device=CPU,
    )
    torch.manual_seed(seed)
    model = build("resnet20", num_classes=data.num_classes, width=4)
    method = method or METHODS["granet"](**GRANET)
    return prepare_run(
        "test",
        model,
        method,
        data,
        TrainConfig(**settings),
        seed=seed,
        device=CPU,
        rewind_to=copy.deepcopy(model.state_dict()),
    )


def rows(path: Path) -> list[dict[str, str]]:
    """history.csv without its time columns."""
    with path.open() as file:
        return [{k: v for k, v in row.items() if k not in TIME_COLUMNS} for row in csv.DictReader(file)]


def same_weights(a: Run, b: Run) -> bool:
    return all(torch.equal(value, b.model.state_dict()[key]) for key, value in a.model.state_dict().items())


@pytest.fixture(scope="module")
def straight(digits, tmp_path_factory):
    """The reference: resident loader, uninterrupted."""
    folder = tmp_path_factory.mktemp("straight")
    run = make_run(digits)
    fit(run, history_csv=folder / "history.csv", checkpoint_path=folder / "last.pt")
    return run, rows(folder / "history.csv")


@pytest.mark.parametrize(
    "options",
    [
        {"loader": "resident"},
        {"loader": "auto"},
        {"loader": "ffcv", "num_workers": 1},
        {"loader": "ffcv", "num_workers": 2},
    ],
    ids=str,
)
def test_equal_configurations_give_identical_histories_and_weights(digits, straight, tmp_path, options):
    run = make_run(digits, **options)
    fit(run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")
    assert rows(tmp_path / "history.csv") == straight[1]
    assert same_weights(run, straight[0])


def test_another_seed_gives_another_history(digits, straight, tmp_path):
    run = make_run(digits, seed=1)
    fit(run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")
    assert rows(tmp_path / "history.csv") != straight[1]


class StopError(Exception):
    """Stands for Ctrl-C at an inconvenient moment."""


@pytest.mark.parametrize("epochs_done", [1, 2])
@pytest.mark.parametrize("method", ["granet", "dense", "set", "dsr", "snfs", "str", "dpf", "imp"])
def test_an_interrupted_run_goes_on_to_a_bit_identical_end(digits, tmp_path, epochs_done, method):
    values = {"dense": {}, "imp": {"sf": 0.9, "prune_fraction": 0.7}}.get(method, GRANET)

    def make():
        return METHODS[method](**values)

    whole = make_run(digits, method=make())
    fit(whole, history_csv=tmp_path / "whole.csv", checkpoint_path=tmp_path / "whole.pt")

    def interrupt(row):
        if row["epoch"] == epochs_done:
            raise StopError

    paths = {"history_csv": tmp_path / "history.csv", "checkpoint_path": tmp_path / "last.pt"}
    with pytest.raises(StopError):
        fit(make_run(digits, method=make()), on_epoch=interrupt, **paths)
    resumed = make_run(digits, method=make())
    seen = []
    fit(resumed, on_epoch=lambda row: seen.append(row["epoch"]), **paths)
    assert seen == list(range(1, whole.epochs + 1))
    assert rows(tmp_path / "history.csv") == rows(tmp_path / "whole.csv")
    assert not any("parametrizations" in name for name in resumed.model.state_dict())
    assert same_weights(resumed, whole)


def test_extended_training_stretches_all_but_the_update_interval(digits, tmp_path):
    run = make_run(digits, epochs=2, extend=1.5)  # 3 epochs of 4 steps
    history = fit(run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert [round(run.lr(step), 4) for step in (5, 6, 8, 9)] == [0.1, 0.01, 0.01, 0.001]
    assert run.sparsifier.last_pruning_step == 8  # 0.6875 * 12 = 8.25
    assert [step for step in range(1, 13) if run.sparsifier.updates_at(step)] == [2, 4, 6, 8, 10, 12]
    # ratios refer to a dense run that is not extended
    assert run.dense_train_flops == 2 * 200 * 3 * run.dense.total


def test_a_method_with_rounds_restarts_the_schedule_and_the_weights(digits, tmp_path):
    run = make_run(digits, method=METHODS["imp"](sf=0.9, prune_fraction=0.7), epochs=2)
    initial = {name: value.clone() for name, value in run.model.state_dict().items()}
    sparsities, weights = [], {}

    def on_epoch(row):
        sparsities.append(round(row["sparsity"], 3))
        weights[row["epoch"]] = {name: value.clone() for name, value in run.model.state_dict().items()}

    history = fit(
        run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt", on_epoch=on_epoch
    )
    assert [round(row["lr"], 4) for row in history] == [0.1, 0.001, 0.1, 0.001]
    assert sparsities == [0.684, 0.9, 0.9, 0.9]  # 1 - 0.1^(1/2); the update closes the round's last epoch
    for name, value in weights[2].items():  # the second round's start
        mask = run.sparsifier.masks.get(name)
        assert torch.equal(value, initial[name] if mask is None else initial[name] * mask), name
    # the dense training that was pruned is paid for too
    assert history[0]["train_flops"] > run.dense_train_flops == run.flops_before


def test_history_has_a_row_per_epoch_with_all_that_is_reported(straight):
    run, history = straight
    assert [row["epoch"] for row in history] == ["1", "2", "3"]
    assert [row["step"] for row in history] == ["4", "8", "12"]
    assert {"lr", "train_loss", "train_accuracy", "val_accuracy", "test_accuracy", "test_loss"} <= set(
        history[0]
    )
    # lr drops at half (step 6) and three quarters (step 9) of 12 steps; the row shows the epoch's last step
    assert [round(float(row["lr"]), 4) for row in history] == [0.1, 0.01, 0.001]
    assert float(history[-1]["sparsity"]) == run.sparsifier.sparsity == pytest.approx(0.9, abs=1e-4)


def test_every_second_step_of_rigl_pays_for_its_dense_gradient(digits, tmp_path):
    run = make_run(digits, method=METHODS["rigl"](**GRANET), epochs=2)
    history = fit(run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")
    sparse = run.dense.at(run.sparsifier.layer_sparsity).total  # RigL keeps every layer's sparsity
    epoch = [(64, sparse, False), (64, sparse, True), (64, sparse, False), (8, sparse, True)]
    assert [row["train_flops"] for row in history] == [
        training_flops(epoch, run.dense.total),
        training_flops(2 * epoch, run.dense.total),
    ]


def test_gradual_pruning_pays_for_the_sparsity_it_has(digits, tmp_path):
    run = make_run(digits, method=METHODS["gmp"](sf=0.9, update_interval=4, tf=4), epochs=2)
    history = fit(run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")
    final = run.dense.at(run.sparsifier.layer_sparsity).total  # pruned once, after the 4th step
    expected = [(200, run.dense.total, False), (200, final, False)]
    assert history[-1]["train_flops"] == training_flops(expected, run.dense.total)


def test_dense_training_costs_what_it_should(digits, tmp_path):
    run = make_run(digits, method=METHODS["dense"](), epochs=2)
    history = fit(run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")
    assert history[-1]["train_flops"] == run.dense_train_flops
    assert history[-1]["inference_flops"] == run.dense.total
    assert run.first_final_epoch == 1


def test_static_masks_cost_their_share_of_every_step(digits, tmp_path):
    run = make_run(digits, method=METHODS["static"](sf=0.5), epochs=1)
    history = fit(run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")
    assert history[0]["train_flops"] == 3 * 200 * run.dense.at(run.sparsifier.layer_sparsity).total


def test_final_sparsity_is_reached_in_the_epoch_the_summary_names(digits):
    assert make_run(digits).first_final_epoch == 2  # step 8 of 4 steps an epoch


def test_a_loss_that_is_not_finite_stops_the_run_with_one_line(digits, tmp_path):
    run = make_run(digits, lr=1e30)
    with pytest.raises(UserError, match=r"training loss is (nan|inf) in epoch 1 .*lower train\.lr") as error:
        fit(run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "last.pt").exists()


def test_a_fixed_mask_is_kept_through_training(digits, tmp_path):
    found = make_run(digits).sparsifier.masks
    run = make_run(digits, method=fixed(found), epochs=1)
    fit(run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")
    assert all(torch.equal(mask, found[name]) for name, mask in run.sparsifier.masks.items())


def test_bf16_learns_too(digits, tmp_path):
    run = make_run(digits, precision="bf16", epochs=6)
    history = fit(run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")
    assert history[-1]["train_loss"] < history[0]["train_loss"] < math.inf


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, r"train\.epochs=0 must be at least 1"),
        ({"extend": 0.5}, r"train\.extend=0\.5 must be at least 1"),
        ({"batch_size": 0}, r"train\.batch_size=0"),
        ({"lr": -1.0}, r"train\.lr=-1\.0"),
        ({"lr_drops": [0.5, 80]}, r"train\.lr_drops=\[0\.5, 80\] must be fractions"),
        ({"momentum": 0.0}, r"train\.nesterov=True must be false"),
        ({"precision": "fp16"}, r"train\.precision='fp16'"),
    ],
)
def test_bad_settings_are_refused_by_name(values, message):
    with pytest.raises(UserError, match=message):
        TrainConfig(**values)


def test_devices_and_precisions_that_are_not_there():
    assert pick_device("cpu") == CPU
    assert pick_precision("fp32", CPU) == "fp32"
    assert pick_precision("auto", CPU) in ("fp32", "bf16")
    with pytest.raises(UserError, match=r"train\.device='tpu'"):
        pick_device("tpu")


def test_the_learning_rate_warms_up_linearly(digits, tmp_path):
    """200 images in batches of 64 are 4 steps an epoch; two epochs of warm-up to 0.1, no drop before the third ends."""
    run = make_run(digits, warmup_epochs=2.0, lr_drops=[])
    assert [round(run.lr(step), 6) for step in (0, 3, 7, 8, 11)] == [0.0125, 0.05, 0.1, 0.1, 0.1]
    with pytest.raises(UserError, match=r"train\.warmup_epochs=4\.0 must be between 0 and train\.epochs"):
        make_run(digits, warmup_epochs=4.0)


def test_weight_decay_may_leave_batchnorm_out(digits):
    run = make_run(digits, decay_norm=False)
    weights, norms = run.optimizer.param_groups
    assert (weights["weight_decay"], norms["weight_decay"]) == (5e-4, 0.0)
    names = {id(value): name for name, value in run.model.named_parameters()}
    assert {names[id(p)].split(".")[-2].strip("0123456789") for p in norms["params"]} <= {"bn", ""}
    assert len(norms["params"]) + len(weights["params"]) == len(names)
    assert len(norms["params"]) == 2 * sum(isinstance(m, torch.nn.BatchNorm2d) for m in run.model.modules())
