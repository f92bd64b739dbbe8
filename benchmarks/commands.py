"""How long commands take, beside Python that imports what they cannot do without; and what steps take in memory."""

import shutil
import subprocess
import sys
from itertools import count
from pathlib import Path

from benchmarks.pairs import Row, Way, compare, timed

ROOT = Path(__file__).parent.parent
IMAGES = ("data.image_size=16", "data.train_size=64", "data.test_size=64")
STEP = ("train.batch_size=64", "train.epochs=1")
"""What a training stage of one step trains on, and how."""
NETWORKS = (("vgg19", 0.95), ("vgg19", 0.98), ("resnet20", 0.98), ("resnet50_cifar", 0.98))
PEAK = """
import sys, torch
from benchmarks import kernels, steps
dense, sparse, masks, _ = kernels.pair(sys.argv[1], float(sys.argv[2]))
chosen = dense if sys.argv[3] == "dense" else sparse
del dense, sparse
images = torch.randn(steps.BATCH, 3, 32, 32).contiguous(memory_format=torch.channels_last)
step = kernels.step_of(chosen, masks, images, torch.randint(10, (steps.BATCH,)))
for _ in range(4):
    step()
with open("/proc/self/status") as status:  # what getrusage tells would be the parent's, where that has more
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


def call(folder: Path, *words: str) -> str:
    """The output of a Python program in a folder; raises where it fails."""
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, check=True)  # noqa: S603
    return done.stdout


def copied(folder: Path, *overrides: str) -> Path:
    """The project without results, its params.yaml made anew."""
    project = folder / "project"
    for name in subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines():  # noqa: S607
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, project / name)
    for words in (["init", "--quiet"], ["add", "."]):
        subprocess.run(["git", *words], cwd=project, check=True)  # noqa: S603, S607
    call(project, "-m", "pipeline.params", *overrides)
    return project


def rows(folder: Path, pairs: int) -> list[Row]:
    """Start-up: of the library, of a training stage of one step from its beginning to its end, of DVC over Table 2."""
    project = copied(folder, "recipe=table2", "grid.datasets=[digits]", "tracking.offline=true", *IMAGES)
    call(project, "-m", "pipeline.prepare", "dataset=digits")
    numbers = count()

    def command(*words: str) -> Way:
        return timed(lambda: call(project, *words))

    def train() -> None:
        where = ("dataset=digits", "model=resnet20", "seed=0", f"out=scratch/{next(numbers)}")
        call(project, "-m", "pipeline.train", "dense", *where, *STEP)

    torch_alone, dvc_alone = command("-c", "import torch"), command("-c", "import dvc.repo")
    return [
        compare("import granet / import torch", command("-c", "import granet"), torch_alone, pairs),
        compare("a training stage of one step / import torch", timed(train), torch_alone, pairs),
        compare("dvc status of table2 / import dvc", command("-m", "dvc", "status"), dvc_alone, pairs),
    ]


def memory() -> dict[str, float]:
    """Largest resident size of a process that takes four steps at batch 128, sparse over dense."""
    return {
        f"peak memory of steps of {model} at {sparsity:.0%}, sparse / dense": float(
            call(ROOT, "-c", PEAK, model, str(sparsity), "sparse")
        )
        / float(call(ROOT, "-c", PEAK, model, str(sparsity), "dense"))
        for model, sparsity in NETWORKS
    }
