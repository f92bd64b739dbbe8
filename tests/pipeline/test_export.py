"""The export stage on run folders that the test makes: filters that can be cut out, and single weights that cannot."""

import dataclasses
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from granet.deploy.artefact import load_sparse
from granet.deploy.latency import latencies, layer_latencies
from granet.deploy.onnx import onnx_outputs
from granet.deploy.packed import load_packed
from granet.flops import inference_flops
from granet.inits.stored import load_masks
from granet.maskable import maskable_weights
from granet.masks import apply_
from granet.models import build
from granet.sparsifier.coupling import channel_groups
from granet.training.device import pick_precision
from granet.types import UserError
from pipeline import export
from pipeline.training.folder import RunFolder
from pipeline.training.summary import PARTS, Summary


def write_run(folder: Path, stage: str, network: str | None, size: int = 32) -> Path:
    """A run of the small resnet20 on 7 classes: half of every group's filters pruned, or half of the weights."""
    torch.manual_seed(0)
    model = build("resnet20", num_classes=7)
    weights = {name: weight.detach() for name, weight in maskable_weights(model).items()}
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}
    if network == "filter-0.5":
        for group in channel_groups(model):
            for name in group.outputs:
                masks[name][::2] = False
            for name in group.inputs:
                masks[name][:, ::2] = False
            for name in group.vectors:
                model.get_parameter(name).data[::2] = 0
    else:
        masks = {name: torch.rand(mask.shape) < 0.5 for name, mask in masks.items()}
    apply_(weights, masks)
    name = f"digits-resnet20-{network or 'granet-0.5'}-3"
    config: dict[str, Any] = {"dataset": "digits", "model": "resnet20", "seed": 3, "stage": stage}
    config |= {"network": network} if network else {"method": "granet", "sparsity": 0.5}
    summary = Summary(
        name=name,
        config=config,
        accuracy=dict.fromkeys(PARTS["accuracy"]),
        sparsity=0.5,
        layer_sparsity={},
        flops=dict.fromkeys(PARTS["flops"], 1),
        num_images={},
        image_shape=(3, size, size),
        num_classes=7,
        epochs=1,
        final_sparsity_epoch=1,
        time_s=1.0,
        environment=dict.fromkeys(PARTS["environment"], "d41d8cd98f00b204e9800998ecf8427e"),
        tracking=dict.fromkeys(PARTS["tracking"]),
    )
    run = folder / stage / name
    run.mkdir(parents=True)
    RunFolder(run).write_json("summary.json", dataclasses.asdict(summary))
    save_file(model.state_dict(), run / "model.safetensors")
    save_file(masks, run / "masks.safetensors")
    return run


@pytest.fixture(scope="module")
def filters(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A run with pruned filters, its export, and what the stage printed."""
    folder = tmp_path_factory.mktemp("filters")
    run = write_run(folder, "pretrain", "filter-0.5")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "100")
        patch.setattr(export, "BATCH_SIZES", (1, 8))
        for measure in (latencies, layer_latencies):
            patch.setattr(export, measure.__name__, partial(measure, time_s=0.1))
        with (folder / "printed").open("w") as printed:
            patch.setattr(sys, "stdout", printed)
            export.main([f"run={run}", f"out={folder / 'out'}"])
    return run, folder / "out", (folder / "printed").read_text()


def test_pruned_filters_are_cut_out(filters):
    run, out, _ = filters
    assert sorted(file.name for file in out.iterdir()) == [
        "hub",
        "model.onnx",
        "packed.safetensors",
        "summary.json",
    ]
    assert sorted(file.name for file in (out / "hub").iterdir()) == sorted(
        ["README.md", "config.json", "masks.safetensors", "model.safetensors"]
    )
    summary = json.loads((out / "summary.json").read_text())
    assert {key: summary[key] for key in ("name", "run", "dataset", "model", "network", "seed")} == {
        "name": "digits-resnet20-filter-0.5-3",
        "run": str(run),
        "dataset": "digits",
        "model": "resnet20",
        "network": "filter-0.5",
        "seed": 3,
    }
    dense, shrunk = (build("resnet20", num_classes=7, width=width) for width in (16, 8))
    assert summary["parameters"] == {
        "dense": sum(value.numel() for value in dense.parameters()),
        "shrunk": sum(value.numel() for value in shrunk.parameters()),  # half of the filters: half as wide
    }
    channels = summary["channels"]
    assert (channels["dense"], channels["shrunk"]) == (448, 224)  # of 3 trunks and 9 blocks
    assert channels["reasons"] == {"zero": 224, "unread": 0, "constant": 0}
    assert channels["groups"][0] == {"name": "conv1.weight", "size": 16, "kept": 8, "reasons": {"zero": 8}}
    assert len(channels["groups"]) == 12
    assert summary["flops"]["dense"] / summary["flops"]["shrunk"] == pytest.approx(4, abs=0.1)
    assert summary["latency_ms"].keys() == {"1", "8"}
    assert all(0 < value < 1e4 for times in summary["latency_ms"].values() for value in times.values())
    assert summary["max_difference"] < 1e-5
    assert summary["onnx_max_difference"] < 1e-5
    assert summary["bytes"] == {
        "dense": (run / "model.safetensors").stat().st_size,
        "packed": (out / "packed.safetensors").stat().st_size,
    }
    assert summary["compression"] == summary["bytes"]["dense"] / summary["bytes"]["packed"] > 3
    assert {"hardware", "torch", "git_revision", "git_dirty", "code"} <= summary["environment"].keys()


def test_the_run_says_how_large_its_images_are(tmp_path, monkeypatch):
    """FLOPs and ONNX input of a run on 64 x 64 images, whatever its data set is called."""
    monkeypatch.setattr(export, "latencies", lambda models, *_: [2.0, 1.0, 0.5, 0.5, 0.5][: len(models)])
    monkeypatch.setattr(export, "layer_latencies", lambda *_: {})
    run = write_run(tmp_path, "pretrain", "filter-0.5", size=64)
    export.main([f"run={run}", f"out={tmp_path / 'out'}"])
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["image_shape"] == [3, 64, 64]
    assert summary["flops"]["dense"] == inference_flops(build("resnet20", num_classes=7), (3, 64, 64)).total
    assert onnx_outputs(tmp_path / "out/model.onnx", torch.randn(2, 3, 64, 64)).shape == (2, 7)


def test_its_files_give_the_run_back(filters):
    run, out, _ = filters
    weights, masks = load_packed(out / "packed.safetensors")
    expected, expected_masks = load_file(run / "model.safetensors"), load_file(run / "masks.safetensors")
    assert weights.keys() == expected.keys() and masks.keys() == expected_masks.keys()
    assert all(torch.equal(weights[name], value) for name, value in expected.items())
    assert all(torch.equal(masks[name], value) for name, value in expected_masks.items())
    model = build("resnet20", num_classes=7)
    model.load_state_dict(weights)
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(
            onnx_outputs(out / "model.onnx", images), model.eval()(images), atol=1e-5, rtol=1e-5
        )


def test_what_it_prints_fits_100_columns_and_says_what_masks_are(filters):
    printed = filters[2]
    assert max(len(line) for line in printed.splitlines() if not line.startswith("Written to")) <= 100
    for words in (
        "latency at batch 1, ms",
        "channels",
        "parameters",
        "FLOPs",
        "weights on disk",
        "Channels that went: 224 always zero.",
    ):
        assert words in printed
    assert "Masks only simulate sparsity" in printed
    assert "really faster" in " ".join(printed.split())


def test_single_weights_are_said_to_leave_nothing_to_cut_out(tmp_path, monkeypatch, capsys):
    """The stage's own default folder, of a run that is not of the pretrain stage."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    for measure in (latencies, layer_latencies):
        monkeypatch.setattr(export, measure.__name__, partial(measure, time_s=0.1))
    run = write_run(Path("runs"), "sparse", None)
    export.main([f"run={run}"])
    summary = json.loads((tmp_path / "exports/sparse" / run.name / "summary.json").read_text())
    assert summary["network"] is None
    assert summary["latency_ms"] == {}
    assert summary["channels"]["reasons"] == {"zero": 0, "unread": 0, "constant": 0}
    assert summary["parameters"]["shrunk"] == summary["parameters"]["dense"]
    assert summary["flops"]["shrunk"] == summary["flops"]["dense"]
    assert summary["max_difference"] == 0
    assert summary["compression"] > 1.7  # half of the values, and a bit for each
    ways = summary["runtimes"]
    names = {"fp32", "onnxruntime", "sparse fp32"}
    names |= {"bf16", "sparse bf16"} if pick_precision("auto", torch.device("cpu")) == "bf16" else set()
    assert ways["max_difference"].keys() == names
    assert all(difference < 1e-4 for name, difference in ways["max_difference"].items() if "bf16" not in name)
    assert ways["latency_ms"].keys() == {"1", "16", "128"}
    assert all(times.keys() == names for times in ways["latency_ms"].values())
    assert "layer1.0.conv1" in ways["layer_latency_ms"]
    assert all(
        times.keys() == names - {"onnxruntime"} and all(value > 0 for value in times.values())
        for times in ways["layer_latency_ms"].values()
    )
    assert (tmp_path / "exports/sparse" / run.name / "model.onnx").exists()
    printed = capsys.readouterr().out
    assert "Nothing can be cut out" in printed
    assert "sparse fp32" in printed
    assert max(map(len, printed.splitlines())) <= 100


def test_a_run_of_the_pretrain_stage_goes_where_dvc_expects_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(export, "latencies", lambda models, *_: [2.0, 1.0, 0.5, 0.5, 0.5][: len(models)])
    monkeypatch.setattr(export, "layer_latencies", lambda *_: {})
    run = write_run(Path("runs"), "pretrain", "filter-0.5")
    export.main([f"run={run}"])
    summary = json.loads((tmp_path / "runs/export" / run.name / "summary.json").read_text())
    assert summary["latency_ms"]["128"] == {"dense": 2000.0, "shrunk": 1000.0}


def test_a_network_that_nobody_knows_how_to_shrink_is_exported_as_it_is(tmp_path, monkeypatch, capsys):
    """MobileNetV2 with a layer outside of the masks, as train.exclude leaves it."""
    monkeypatch.setattr(export, "by_runtime", lambda *_, **__: {"reason": "not asked here"})
    monkeypatch.setattr(export, "to_onnx", lambda *_: None)  # takes ten seconds for so many layers
    monkeypatch.setattr(export, "onnx_outputs", lambda _, images_NCHW: torch.zeros(len(images_NCHW), 7))
    torch.manual_seed(0)
    model = build("mobilenet_v2_cifar", num_classes=7)
    weights = maskable_weights(model)
    masks = {name: torch.rand_like(weight) < 0.5 for name, weight in weights.items()}
    masks.pop(first := next(iter(weights)))
    apply_({name: weights[name].detach() for name in masks}, masks)
    run = write_run(tmp_path, "sparse", None)
    values = json.loads((run / "summary.json").read_text())
    values["config"] |= {"model": "mobilenet_v2_cifar", "train": {"exclude": [first]}}
    RunFolder(run).write_json("summary.json", values)
    save_file(model.state_dict(), run / "model.safetensors")
    save_file(masks, run / "masks.safetensors")

    export.main([f"run={run}", f"out={tmp_path / 'out'}"])
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["channels"]["unknown"] == (
        "features.0.2 is a ReLU6: which channels depend on each other there is not known"
    )
    assert summary["channels"]["groups"] == [] and summary["latency_ms"] == {}
    assert summary["parameters"]["shrunk"] == summary["parameters"]["dense"]
    read = load_sparse(tmp_path / "out/hub")
    assert all(torch.equal(read.masks[name], mask) for name, mask in masks.items())
    assert read.masks.keys() == masks.keys() == load_masks(tmp_path / "out/hub/masks.safetensors").keys()
    assert "how to shrink this network is not known" in " ".join(capsys.readouterr().out.split())


def test_masks_of_another_run_are_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run, other = write_run(Path("a"), "sparse", None), write_run(Path("b"), "pretrain", "filter-0.5")
    (run / "masks.safetensors").write_bytes((other / "masks.safetensors").read_bytes())
    with pytest.raises(UserError, match="weights are not zero where it is inactive"):
        export.main([f"run={run}", "out=out"])
    assert not (tmp_path / "out").exists()
