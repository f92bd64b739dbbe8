"""granet.deploy.artefact: a sparse model as a folder that others read, with granet and without it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import cross_entropy

import granet
from granet import METHODS, Card, Sparsifier, UserError, load_masks, load_sparse, save_masks, save_sparse
from granet.deploy.card import SNIPPET
from granet.methods import fixed

CARD = Card(
    name="digits | granet",
    method="granet",
    data="digits",
    accuracy={"test_accuracy_last": 0.9731, "test_accuracy_best_val": None},
    seeds=[0, 1],
    license="mit",
    code="d41d8cd98f00b204",
)


def trained(name: str = "granet", dtype: torch.dtype = torch.float32, **keys) -> tuple[nn.Module, Sparsifier]:
    """A small network in which two layers share their weight and two vectors are one, after four steps."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(32, 10))
    model.extend([nn.Linear(10, 10), nn.Linear(10, 10)])
    if name not in ("str", "dpf"):  # they refuse it
        model[5].weight, model[5].bias = model[4].weight, model[4].bias
    model.to(dtype).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    sparsifier = Sparsifier(model, optimizer, METHODS[name](sf=0.8, **keys), seed=0, total_steps=4)
    for _ in range(4):
        images_NCHW = torch.randn(8, 3, 4, 4, dtype=dtype)
        cross_entropy(model(images_NCHW), torch.randint(10, (8,))).backward()
        sparsifier.after_backward()
        optimizer.step()
        sparsifier.after_step()
        optimizer.zero_grad(set_to_none=True)
    return model.eval(), sparsifier


def fresh(dtype: torch.dtype = torch.float32) -> nn.Module:
    return trained("static", dtype)[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_what_is_read_is_what_was_saved(tmp_path, dtype):
    model, sparsifier = trained(dtype=dtype, update_interval=2)
    size = save_sparse(tmp_path / "out", model, sparsifier.masks, card=CARD, config={"width": 8})
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == ["README.md", "config.json", "model.safetensors"]
    assert size == (tmp_path / "out/model.safetensors").stat().st_size
    other = fresh(dtype)
    read = load_sparse(tmp_path / "out", other)
    state = model.state_dict()
    assert list(read.weights) != [] and read.weights.keys() == state.keys()
    assert all(torch.equal(read.weights[name], value) for name, value in state.items())
    assert all(torch.equal(value, state[name]) for name, value in other.state_dict().items())
    assert all(torch.equal(read.masks[name], mask) for name, mask in sparsifier.masks.items())
    assert read.weights["4.weight"] is read.weights["5.weight"]
    assert read.config["width"] == 8
    assert read.config["sparse"]["sparsity"] == sparsifier.sparsity
    assert read.config["sparse"]["layer_sparsity"] == sparsifier.layer_sparsity


def test_the_folder_is_read_without_granet_as_its_card_says(tmp_path):
    """The snippet stands in the card and in docs/sparse-artefacts.md, has 20 lines, and gives every bit."""
    model, sparsifier = trained(update_interval=2)
    save_sparse(tmp_path, model, sparsifier.masks, card=CARD)
    (code,) = re.findall(r"```python\n(import json\n.*?)```", (tmp_path / "README.md").read_text(), re.DOTALL)
    docs = Path(granet.__file__).parents[1] / "docs/sparse-artefacts.md"
    assert code == SNIPPET and code in docs.read_text()
    assert len([line for line in code.splitlines() if line]) <= 20
    script = f"""import sys
sys.modules["granet"] = None
{code}
weights, masks = load("model.safetensors")
from safetensors.torch import save_file
save_file({{name: value.clone() for name, value in weights.items()}}, "dense")
save_file(masks, "masks")"""
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    dense, masks = load_file(tmp_path / "dense"), load_file(tmp_path / "masks")
    assert dense.keys() == model.state_dict().keys()
    assert all(torch.equal(dense[name], value) for name, value in model.state_dict().items())
    assert all(torch.equal(masks[name], mask) for name, mask in sparsifier.masks.items())


def test_the_hub_reads_the_card(tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    model, sparsifier = trained(update_interval=2)
    save_sparse(tmp_path, model, sparsifier.masks, card=CARD)
    card = hub.ModelCard.load(tmp_path / "README.md")
    assert (card.data.license, card.data.library_name, card.data.datasets) == ("mit", "granet", ["digits"])
    assert card.data.tags == ["sparse", "pruning", "granet", "granet"][:3]
    (result,) = card.data.eval_results
    assert (result.dataset_name, result.metric_name, result.metric_value) == (
        "digits",
        "test_accuracy_last",
        0.9731,
    )
    active = sum(int(mask.sum()) for mask in sparsifier.masks.values())
    for row in (
        "| method | granet |",
        f"| sparsity | {sparsifier.sparsity:.2%} ({active} of 636 weights are active) |",
        "| data | digits |",
        "| test accuracy last | 97.31% |",
        "| seeds | 0, 1 |",
        "| licence | mit |",
        "| code | d41d8cd98f00b204 |",
        "| `0.weight` | ",
    ):
        assert row in card.text


def test_what_a_card_is_not_told_is_unknown_and_a_dense_model_has_one_too(tmp_path):
    save_sparse(tmp_path, fresh(), {})
    text = (tmp_path / "README.md").read_text()
    assert text.startswith('---\nlicense: "unknown"\n') and "model-index" not in text
    assert text.count("| unknown |") == 5 and "Nothing is masked." in text
    assert load_sparse(tmp_path).masks == {}


@pytest.mark.parametrize("kind", ["alone", "of a run", "of an artefact"])
def test_masks_in_a_file_are_what_fixed_takes(tmp_path, kind):
    model, sparsifier = trained(update_interval=2)
    file = tmp_path / "masks.safetensors"
    if kind == "alone":
        save_masks(file, sparsifier.masks)
        assert file.stat().st_size < 700
    elif kind == "of a run":
        save_file({name: mask.contiguous() for name, mask in sparsifier.masks.items()}, file)
    else:
        save_sparse(tmp_path, model, sparsifier.masks)
        file = tmp_path / "model.safetensors"
    other = fresh()
    retrained = Sparsifier(
        other, torch.optim.SGD(other.parameters(), 0.1), METHODS["fixed"](file), seed=1, total_steps=4
    )
    assert retrained.masks.keys() == sparsifier.masks.keys()
    assert all(torch.equal(retrained.masks[name], mask) for name, mask in sparsifier.masks.items())
    assert all((other.get_parameter(name)[~mask] == 0).all() for name, mask in retrained.masks.items())


def test_fixed_is_found_among_the_methods_and_is_no_row():
    """Whoever goes through the table makes every method of it from values."""
    assert METHODS["fixed"] is fixed
    assert "fixed" not in METHODS and "fixed" not in list(METHODS)
    with pytest.raises(KeyError):
        METHODS["fixd"]


def spoil(folder: Path, kind: str) -> None:
    config, model = folder / "config.json", folder / "model.safetensors"
    if kind == "no config":
        config.unlink()
    elif kind == "no weights":
        model.unlink()
    elif kind == "another config":
        config.write_text('{"hidden_size": 3}')
    elif kind == "no json":
        config.write_bytes(b"\xff{")
    elif kind == "another format":
        config.write_text(json.dumps({"sparse": {"format": 9}}))
    elif kind == "cut off":
        model.write_bytes(model.read_bytes()[:-9])
    elif kind == "dense":
        save_file({"weight": torch.zeros(3)}, model)
    elif kind == "bits of another size":
        tensors = load_file(model)
        tensors["mask:0.weight"] = tensors["mask:0.weight"][:-1]
        save_file(tensors, model, {"shapes": '{"0.weight": [8, 3, 3, 3]}'})
    elif kind == "values missing":
        tensors = load_file(model)
        tensors["active:0.weight"] = tensors["active:0.weight"][:-1]
        save_file(tensors, model, {"shapes": '{"0.weight": [8, 3, 3, 3]}'})


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("no config", "config.json is missing; give the folder that save_sparse wrote"),
        ("no weights", "model.safetensors is no file"),
        ("another config", "is no config.json of save_sparse"),
        ("no json", "is no config.json of save_sparse"),
        ("another format", "has sparse.format 9, and this granet reads 1"),
        ("cut off", "is no packed file, no safetensors even"),
        ("dense", "is no packed file"),
        ("bits of another size", "its masks do not go with its header"),
        ("values missing", "values for 43 active places of 0.weight"),
    ],
)
def test_a_folder_that_is_spoilt_is_one_line(tmp_path, kind, words):
    model, sparsifier = trained("static", distribution="uniform")
    save_sparse(tmp_path, model, sparsifier.masks)
    spoil(tmp_path, kind)
    with pytest.raises(UserError, match=re.escape(words)) as error:
        load_sparse(tmp_path)
    assert "\n" not in str(error.value)


def test_another_model_is_refused_with_the_first_tensor_that_differs(tmp_path):
    model, sparsifier = trained("static")
    save_sparse(tmp_path, model, sparsifier.masks)
    other = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(UserError, match=re.escape("0.bias is (8,) in the file and (4,) in the model")):
        load_sparse(tmp_path, other)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda masks: {"9.weight": masks["0.weight"]}, "'9.weight' is no weight of this model"),
        (lambda masks: {"0.weight": ~masks["0.weight"]}, "weights are not zero where it is inactive"),
    ],
)
def test_masks_of_another_model_are_refused_before_anything_is_written(tmp_path, change, words):
    model, sparsifier = trained("static")
    with pytest.raises(UserError, match=words):
        save_sparse(tmp_path / "out", model, change(sparsifier.masks))
    assert not list((tmp_path / "out").glob("*"))


def test_a_config_that_json_does_not_have_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"config: .*give values that JSON has"):
        save_sparse(tmp_path / "out", fresh(), {}, config={"dtype": torch.float32})


@pytest.mark.parametrize("name", ["str", "dpf"])
def test_weights_that_the_forward_computes_are_finished_first(tmp_path, name):
    model, sparsifier = trained(name, update_interval=2)
    with pytest.raises(UserError, match=re.escape("call sparsifier.finish() before saving")):
        save_sparse(tmp_path, model, sparsifier.masks)
    sparsifier.finish()
    save_sparse(tmp_path, model, sparsifier.masks)
    assert all(torch.equal(load_sparse(tmp_path).masks[n], mask) for n, mask in sparsifier.masks.items())


def test_a_file_without_masks_is_none(tmp_path):
    save_file({"weight": torch.zeros(3)}, tmp_path / "weights.safetensors")
    with pytest.raises(UserError, match=r"holds no masks: weight is torch\.float32; save_masks writes them"):
        load_masks(tmp_path / "weights.safetensors")
    with pytest.raises(UserError, match="is no file"):
        METHODS["fixed"](tmp_path / "missing.safetensors")
