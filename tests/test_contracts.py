"""What other people's scripts call: names and shapes that may gain, and never lose or change."""

import inspect
import re
import subprocess
from pathlib import Path

import pytest
import torch
from torch import nn

import granet.methods
from granet import METHODS, Sparsifier
from granet.distributions import erk
from granet.flops import Flops, inference_flops
from granet.models import build
from granet.schedules import cubic
from granet.update import prune, regenerate
from pipeline.params.files import read_yaml
from pipeline.training.folder import RESULTS
from pipeline.training.stages import STAGES
from tests.helpers.project import ROOT

NAMES = (
    *("dense", "static", "small_dense", "snip", "grasp", "synflow", "set", "deep_r", "dsr", "snfs"),
    *("rigl", "gmp", "gmp_original", "str", "dpf", "granet", "one_shot", "imp", "sis"),
)


def test_sparsifier_is_two_calls_in_a_loop_and_a_state():
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    method = METHODS["granet"](sf=0.5, update_interval=2)
    sparsifier = Sparsifier(model, optimizer, method, seed=0, total_steps=8)
    for _ in range(8):
        model(torch.ones(2, 8)).sum().backward()
        sparsifier.after_backward()
        optimizer.step()
        sparsifier.after_step()
        optimizer.zero_grad(set_to_none=True)
    assert sparsifier.sparsity == 0.5
    assert sparsifier.masks.keys() == sparsifier.layer_sparsity.keys() == {"0.weight", "2.weight"}
    assert all(mask.dtype == torch.bool for mask in sparsifier.masks.values())
    again = Sparsifier(model, optimizer, method, seed=0, total_steps=8)
    again.load_state_dict(sparsifier.state_dict())
    assert again.sparsity == 0.5
    parameters = inspect.signature(Sparsifier.__init__).parameters
    assert list(parameters)[1:4] == ["model", "optimizer", "method"]
    assert {"seed", "total_steps"} <= {name for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}


def test_methods_are_a_table_of_functions_by_name():
    assert granet.METHODS is granet.methods.METHODS
    assert set(NAMES) <= set(METHODS)
    assert METHODS["granet"](sf=0.9).family == "dense_to_sparse"


@pytest.mark.parametrize("name", ["resnet20", "vgg19", "resnet50_cifar", "resnet50"])
def test_models_are_built_by_name(name):
    with torch.device("meta"):
        model = build(name, num_classes=7)
        assert model(torch.empty(2, 3, 32, 32)).shape == (2, 7)


def test_distributions_schedules_updates_and_flops_have_their_shapes():
    assert erk({"a": (100, 100), "b": (10, 10)}, 0.8)["b"] == 0.0
    assert cubic(si=0.0, sf=0.9, t0=0, tf=100)(100) == 0.9
    masks, scores = {"a": torch.ones(4, dtype=torch.bool)}, {"a": torch.arange(4.0)}
    assert prune(masks, scores, {"a": 2})["a"].tolist() == [False, False, True, True]
    sparse = {"a": torch.tensor([True, True, False, False])}
    assert regenerate(sparse, scores, scores, 0.5)["a"].tolist() == [False, True, False, True]
    flops = inference_flops(nn.Sequential(nn.Linear(8, 4)), (8,), {"0.weight": 0.5})
    assert flops == Flops(total=32, layers={"0.weight": 32})


def test_make_has_its_targets():
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"setup", "repro", "test", "check", "bench"} <= set(targets)
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "make repro" in shown and "make test" in shown


def test_a_run_folder_has_its_five_files():
    assert set(RESULTS) == {
        "metrics.json",
        "history.csv",
        "model.safetensors",
        "masks.safetensors",
        "summary.json",
    }


def test_dvc_has_its_stages_and_the_report_its_files():
    stages = read_yaml(ROOT / "dvc.yaml")["stages"]
    names = [
        "prepare",
        "code",
        "dense",
        "sparse",
        "after",
        "chain",
        "member",
        "soup",
        "reinit",
        "retrain",
        "pretrain",
        "plasticity",
        "export",
        "report",
    ]
    assert set(names) == set(stages) == {"prepare", "code", "report", *STAGES}
    assert {"reports/report.html", "reports/report.md", "reports/metrics.json"} <= set(
        stages["report"]["outs"]
    )
    for stage in ("dense", "sparse", "after", "reinit", "retrain", "pretrain"):
        files = [*stages[stage]["outs"], *stages[stage]["metrics"]]
        assert {f"runs/{stage}/${{key}}/{name}" for name in RESULTS} <= set(files)


def test_the_committed_params_are_plain_and_complete():
    params = read_yaml(ROOT / "params.yaml")
    assert {"grid", "data", "train", "plasticity", "tracking", "launch", "dense"} <= set(params)
    assert (params["granet"]["si"], params["granet_s2s"]["si"]) == (0.0, 0.5)
    assert params["granet"]["method"] == params["granet_s2s"]["method"] == "granet"


@pytest.mark.parametrize("package", ["granet", "pipeline"])
def test_a_newcomer_meets_few_rooms_and_no_long_module(package):
    assert len([path for path in (ROOT / package).iterdir() if path.name != "__pycache__"]) < 25
    modules = [path for pattern in ("*.py", "*.cpp", "*.h") for path in (ROOT / package).rglob(pattern)]
    assert {path.name: lines for path in modules if (lines := count_lines(path)) > 300} == {}


def test_the_stages_and_the_templates_stay_short():
    assert count_lines(ROOT / "dvc.yaml") < 250
    assert sum(map(count_lines, (ROOT / "pipeline/report/templates").iterdir())) < 450


def count_lines(path: Path) -> int:
    return len(path.read_text().splitlines())
