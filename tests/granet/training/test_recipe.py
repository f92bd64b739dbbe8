"""Everything that a recipe can switch on at once: runs resume, read by any loader, and replay, bit for bit."""

from typing import Any

import pytest
import torch

from granet import METHODS
from granet.data import open_data
from granet.training.bookkeeping import Bookkeeping
from granet.training.config import TrainConfig
from granet.training.loop import fit
from granet.training.run import prepare_run
from tests.granet.training.test_loop import StopError, rows, same_weights
from tests.granet.training.test_replay import recording  # noqa: F401  (a fixture)
from tests.helpers.needs import needs_ffcv
from tests.helpers.training import CPU, GRANET, make_run

EVERYTHING = {
    **{"lr_schedule": "cosine", "lr": 2e-3, "lr_final": 1e-5, "warmup_epochs": 0.5, "optimizer": "adamw"},
    **{"weight_decay": 0.05, "decay_norm": False, "decay_bias": False, "clip_norm": 1.0, "ema_decay": 0.8},
    **{"randaugment": 2, "erasing": 0.25, "mixup": 0.8, "cutmix": 1.0, "label_smoothing": 0.1},
}


def trained(digits, folder, **options):
    run = make_run(digits, **{"epochs": 2, "checkpoint_s": 0} | EVERYTHING | options)
    fit(run, history_csv=folder / "history.csv", checkpoint_path=folder / "last.pt")
    return run


@pytest.fixture(scope="module")
def whole(digits, tmp_path_factory):
    """Two epochs of four steps, masks after every second one."""
    folder = tmp_path_factory.mktemp("whole")
    return trained(digits, folder), rows(folder / "history.csv")


@pytest.mark.parametrize("step", [1, 4, 6])
def test_a_run_goes_on_to_a_bit_identical_end(digits, tmp_path, monkeypatch, whole, step):
    after_update = Bookkeeping.after_update

    def killed(book):
        after_update(book)
        if book._step == step:
            raise StopError

    with monkeypatch.context() as patch, pytest.raises(StopError):
        patch.setattr(Bookkeeping, "after_update", killed)
        trained(digits, tmp_path)
    run = trained(digits, tmp_path)
    assert rows(tmp_path / "history.csv") == whole[1] and same_weights(run, whole[0])


@needs_ffcv
def test_every_loader_gives_the_same_run(digits, tmp_path, whole):
    run = trained(digits, tmp_path, loader="ffcv")
    assert rows(tmp_path / "history.csv") == whole[1] and same_weights(run, whole[0])


def test_a_run_of_recorded_steps_is_the_run_of_launched_ones(digits, tmp_path, recording):  # noqa: F811
    """Clipping, averaging and mixing stay outside of what is recorded."""
    runs = []
    for graphs in (True, False):
        made = make_run(digits, **{"epochs": 3, "cuda_graphs": graphs} | EVERYTHING)
        recording[:] = [made]
        fit(made, history_csv=tmp_path / f"{graphs}.csv", checkpoint_path=tmp_path / f"{graphs}.pt")
        replays: dict[str, Any] = made.replays._replays
        counts = {name: one._graph.count for name, one in replays.items() if one._graph}
        assert ({"augment", "step"} <= counts.keys() and min(counts.values()) > 0) if graphs else not counts
        runs.append(made)
    assert same_weights(*runs) and rows(tmp_path / "True.csv") == rows(tmp_path / "False.csv")


@pytest.mark.filterwarnings("ignore:2% of the weights stay dense")
def test_a_transformer_of_timm_takes_all_of_it(digits, tmp_path):
    """LayerNorm, tokens and positions, which have no weight decay; the average is as sparse as the run."""
    vit = pytest.importorskip("timm.models.vision_transformer")
    torch.manual_seed(0)
    model = vit.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2, num_classes=10
    )
    data = open_data(digits, loader="resident", batch_size=64, seed=0, device=CPU)
    config = TrainConfig(epochs=2, batch_size=64, precision="fp32", **EVERYTHING)
    run = prepare_run("vit", model, METHODS["granet"](**GRANET), data, config, seed=0, device=CPU)
    fit(run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")
    plain = [
        id(p) for group in run.optimizer.param_groups if not group["weight_decay"] for p in group["params"]
    ]
    undecayed = {name for name, p in model.named_parameters() if id(p) in plain}
    assert {"pos_embed", "cls_token", "norm.weight", "blocks.0.attn.qkv.bias"} <= undecayed
    assert not undecayed & run.sparsifier.masks.keys() and run.sparsifier.sparsity == pytest.approx(
        0.9, abs=1e-3
    )
    for name, mask in run.sparsifier.masks.items():
        assert not model.get_parameter(name)[~mask].any(), name
