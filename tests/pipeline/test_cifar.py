"""The `ci` recipe through DVC on CIFAR-10's official files: the real ones where they are at hand, else
digits written in the same layout, so that the reader is exercised all the same."""

import json

import pytest

from tests.helpers import real_data
from tests.helpers.cifar_layout import write_cifar10
from tests.helpers.project import Project

SIZES = ("data.train_size=1000", "data.val_size=200", "data.test_size=300")
SHORT = ("train.epochs=8", *(f"{m}.update_interval=8" for m in ("gmp", "rigl", "granet", "granet_s2s")))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("raw")
    real = real_data.write_cifar10(root)
    if not real:
        write_cifar10(root)
    project = Project(tmp_path_factory.mktemp("cifar"))
    project.params(
        "recipe=ci",
        f"data.root={root}",
        f"data.verify={str(real).lower()}",
        *SIZES,
        *SHORT,
    )
    project.commit("ci recipe")
    return project


def test_dense_and_granet_learn(project):
    dense, granet = "cifar10-resnet20-0", "cifar10-resnet20-granet-0.9-0"
    project.python("pipeline.launch", f"dense@{dense}", f"sparse@{granet}")
    index = json.loads((project.folder / "data/prepared/cifar10/index.json").read_text())
    assert index["num_images"] == {"train": 1000, "val": 200, "test": 300}
    assert (index["mode"], index["flip"]) == ("reflect", True)
    summaries = {
        run: json.loads((project.folder / f"runs/{run}/summary.json").read_text())
        for run in (f"dense/{dense}", f"sparse/{granet}")
    }
    for summary in summaries.values():
        assert summary["accuracy"]["test_accuracy_last"] > 0.25  # chance: 0.10
        assert summary["accuracy"]["test_accuracy_best_val"] is not None
    assert summaries[f"sparse/{granet}"]["sparsity"] == pytest.approx(0.9, abs=1e-5)


def test_a_truncated_file_is_named_with_the_fix(project):
    settings = (project.folder / "params.yaml").read_text()
    root = next(line.split()[1] for line in settings.splitlines() if line.startswith("  root:"))
    project.run(
        "bash", "-c", f"cp -r {root} broken && truncate -s 1000 broken/cifar-10-batches-py/data_batch_3"
    )
    done = project.python("pipeline.prepare", "data.root=broken", check=False)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "data_batch_3" in done.stderr
    assert "data.root" in done.stderr
