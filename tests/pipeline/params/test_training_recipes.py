"""The recipes of other papers' training: each composes, trains for an epoch, and says in the report what it is."""

import pytest
import torch

from granet import METHODS
from granet.common.optimizers import same_shaped
from granet.training.loop import fit
from pipeline.params.files import compose
from pipeline.report.provenance import recipe
from tests.helpers.training import CPU, make_run

WORDS = {
    "deit": {
        "Learning rate": "0.002, cosine to 2e-05, 0.5 warm-up epochs",
        "Optimizer": "AdamW, betas 0.9 and 0.999, eps 1e-08",
        "Weight decay": "0.05, not on BatchNorm, not on biases",
        "Label smoothing": "0.1",
        "Distortion of images": "RandAugment 2 operations, magnitude 9, erasing 0.25, mixup 0.8, CutMix 1",
    },
    "quick": {
        "Learning rate": "0.1, × 0.1 at 50 % and 75 % of the run",
        "Optimizer": "SGD, momentum 0.9, Nesterov",
        "Weight decay": "0.0005",
        "Label smoothing": "0",
    },
}
WORDS["convnext"] = WORDS["deit"] | {
    "Learning rate": "0.004, cosine to 4e-06, 0.8 warm-up epochs",
    "Weights evaluated and saved": "their average, decay 0.98",
}


@pytest.mark.parametrize("name", WORDS)
def test_a_report_says_how_weights_are_trained(name):
    assert recipe(compose([f"recipe={name}"]).train) == WORDS[name]


@pytest.mark.parametrize(("name", "method"), [("deit", "granet"), ("convnext", "rigl")])
def test_a_recipe_trains(digits, tmp_path, name, method):
    """An epoch of four steps, of which two end in an update."""
    train = compose([f"recipe={name}", "train.epochs=1", "train.precision=fp32", "train.kernels=dense"]).train
    run = make_run(digits, method=METHODS[method](sf=0.9, update_interval=2), **vars(train) | {"device": CPU})
    history = fit(run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")
    assert isinstance(run.optimizer, torch.optim.AdamW) and 0 <= history[0]["test_accuracy"] <= 1
    weights = {mask: run.model.get_parameter(mask) for mask in run.sparsifier.masks}
    states = same_shaped(run.optimizer, weights)
    for mask_name, mask in run.sparsifier.masks.items():
        assert not any(tensor[~mask].any() for tensor in (weights[mask_name], *states[mask_name]))
    assert run.average.is_kept == (name == "convnext")
