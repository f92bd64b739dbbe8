"""granet.training.config: what cannot be trained is refused before any work, in one line."""

import re

import pytest

from granet import UserError
from granet.training.config import TrainConfig


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "train.epochs=0 must be at least 1: passes over the training set"),
        ({"extend": 0.5}, "train.extend=0.5 must be at least 1"),
        ({"batch_size": 0}, "train.batch_size=0 must be at least 1"),
        ({"lr": -1.0}, "train.lr=-1.0 must be above 0"),
        ({"lr_drops": [0.5, 80]}, "train.lr_drops=[0.5, 80] must be in [0, 1]"),
        ({"lr_schedule": "poly"}, "train.lr_schedule='poly' must be steps, cosine, linear or onecycle"),
        ({"lr_final": 0.01}, "train.lr_final=0.01 must be 0 where lr_schedule is steps"),
        ({"lr_schedule": "cosine", "lr_final": 0.2}, "train.lr_final=0.2 must be at most train.lr"),
        ({"lr_schedule": "onecycle"}, "train.warmup_epochs=0.0 must be above 0 for onecycle"),
        ({"init": "fan"}, "train.init='fan' must be fan_in, fan_out or torch"),
        ({"precision": "fp16"}, "train.precision='fp16' must be auto, fp32 or bf16"),
        ({"momentum": 0.0}, "train.nesterov=True must be false where momentum is 0"),
        ({"epochs": 3, "warmup_epochs": 4.0}, "train.warmup_epochs=4.0 must be at most train.epochs"),
        ({"num_processes": 5, "batch_size": 4}, "train.num_processes=5 must be at most train.batch_size"),
        ({"sync_bn": True, "micro_batch": 2}, "train.sync_bn=True must be false where train.micro_batch"),
    ],
)
def test_bad_settings_are_refused_by_name(values, message):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        TrainConfig(**values)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "images"),
    [
        ({}, 128),
        ({"num_processes": 3}, 43),  # the largest share of 128
        ({"num_processes": 3, "micro_batch": 32}, 32),
        ({"num_processes": 4, "sync_bn": True}, 128),
    ],
)
def test_batchnorm_normalises_by_the_images_that_it_sees_together(values, images):
    assert TrainConfig(**values).images_per_norm == images


def test_an_extended_run_has_whole_epochs():
    assert [TrainConfig(epochs=3, extend=extend).total_epochs for extend in (1, 1.5, 2.5)] == [3, 4, 8]
