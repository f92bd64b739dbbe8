"""Deployment: a sparse network as an ONNX file, and on the CPU kernels that compute with the active weights alone.

python -m examples.deploy
"""

import tempfile
import time
from pathlib import Path

import torch
from torch import nn

from granet import METHODS, Sparsifier
from granet.deploy.compiled import compile_sparse
from granet.deploy.onnx import onnx_outputs, to_onnx
from granet.kernels import why_not
from granet.models import build

STEPS = 3


def seconds(network: nn.Module, images_NCHW: torch.Tensor) -> float:
    """The fastest of five."""
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        network(images_NCHW)
        times.append(time.perf_counter() - begin)
    return min(times)


def main() -> None:
    """A few steps on noise stand for a training: what is exported does not depend on how good it is."""
    torch.manual_seed(0)
    model = build("vgg19", num_classes=10)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    method = METHODS["static"](sf=0.98)
    sparsifier = Sparsifier(model, optimizer, method, seed=0, total_steps=STEPS)
    for _ in range(STEPS):
        images_NCHW, labels_N = torch.randn(16, 3, 32, 32), torch.randint(10, (16,))
        nn.functional.cross_entropy(model(images_NCHW), labels_N).backward()
        sparsifier.after_backward()
        optimizer.step()
        sparsifier.after_step()
        optimizer.zero_grad(set_to_none=True)
    model.eval()
    print(f"VGG-19, {sparsifier.sparsity:.0%} sparse")

    images_NCHW = torch.randn(32, 3, 32, 32)
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        expected = model(images_NCHW)
        file = Path(folder) / "model.onnx"
        to_onnx(model, file, (3, 32, 32))
        same = torch.allclose(onnx_outputs(file, images_NCHW), expected, atol=1e-3)
        print(f"ONNX: {file.stat().st_size / 1e6:.0f} MB, onnxruntime's outputs are torch's: {same}")
        if reason := why_not():
            print(f"no sparse kernels here: {reason}")
            return
        sparse = compile_sparse(model, sparsifier.masks)
        same = torch.allclose(sparse(images_NCHW), expected, atol=1e-3)
        before, after = seconds(model, images_NCHW), seconds(sparse, images_NCHW)
        print(f"sparse kernels: outputs are torch's: {same}; {before / after:.1f} times as fast as torch")


if __name__ == "__main__":
    main()
