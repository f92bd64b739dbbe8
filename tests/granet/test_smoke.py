"""The smoke grid: every method of METHODS trains on a CIFAR-10 subset and reaches its sparsity.

The images are CIFAR-10's where they are at hand (see tests/helpers/real_data.py), else digits in the same layout.
"""

import inspect
from math import prod

import pytest
import torch

from granet import METHODS
from granet.data import DataConfig, open_data, prepare
from granet.models import build
from granet.training.config import TrainConfig
from granet.training.loop import fit
from granet.training.run import prepare_run
from tests.helpers import real_data
from tests.helpers.cifar_layout import write_cifar10

CPU = torch.device("cpu")
INEXACT = {  # whole channels; the classifier capped at 0.8; layers that are dense; whole fan-ins
    **{"small_dense": 0.01, "gmp_original": 0.005},
    **{"rigl_nm": 0.01, "sr_ste": 0.03, "srigl": 0.005},
}
SHORT = {
    "iter_snip": {"rounds": 5, "num_images": 32},
    "force": {"rounds": 5, "num_images": 32},
    "grasp": {"images_per_class": 4},
    "synflow": {"rounds": 10},
    "imp": {"prune_fraction": 0.7},
    "obd": {"num_images": 32},
    "bimp": {"rounds": 1, "budget": 32},
    "sis": {"num_images": 64},
    "rigl_nm": {"sf": 0.75},
    "sr_ste": {"sf": 0.75},
}
TRAINED = [name for name in METHODS if name != "dense"]


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    root, folder = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("prepared") / "cifar10"
    real = real_data.write_cifar10(root)
    if not real:
        write_cifar10(root)
    config = DataConfig(root=str(root), train_size=256, val_size=50, test_size=100, verify=real)
    prepare("cifar10", folder, config)
    return open_data(folder, loader="resident", batch_size=32, seed=0, num_workers=0, device=CPU)


def train(cifar, folder, method, model, epochs=4):
    config = TrainConfig(epochs=epochs, batch_size=32, lr=0.05)
    initial = {name: value.clone() for name, value in build_model().state_dict().items()}
    run = prepare_run("smoke", model, method, cifar, config, seed=0, device=CPU, rewind_to=initial)
    return run, fit(run, history_csv=folder / "history.csv", checkpoint_path=folder / "last.pt")


def build_model():
    torch.manual_seed(0)
    return build("resnet20", num_classes=10, width=8)


@pytest.fixture(scope="module")
def trained(cifar, tmp_path_factory):
    """The dense run that after-training methods start from."""
    model = build_model()
    train(cifar, tmp_path_factory.mktemp("dense"), METHODS["dense"](), model)
    return model.state_dict()


@pytest.mark.parametrize("name", TRAINED)
def test_every_method_trains_and_reaches_its_sparsity(cifar, trained, tmp_path, name):
    values = {"sf": 0.9} | SHORT.get(name, {})
    if "update_interval" in inspect.signature(METHODS[name]).parameters:
        values["update_interval"] = 2
    method = METHODS[name](**values)
    model = build_model()
    if method.family == "after_training":
        model.load_state_dict(trained)
    run, history = train(cifar, tmp_path, method, model)
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    sizes = {key: prod(mask.shape) for key, mask in run.sparsifier.masks.items()}
    active = sum(run.sparsifier.num_active.values())
    if name in INEXACT:
        assert run.sparsifier.sparsity == pytest.approx(values["sf"], abs=INEXACT[name])
    else:
        assert active == round(0.1 * sum(sizes.values()))
    for key, mask in run.sparsifier.masks.items():
        assert (model.state_dict()[key][~mask] == 0).all(), key
