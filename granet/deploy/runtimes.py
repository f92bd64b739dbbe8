"""A masked network in every way that a CPU runs it: dense by torch and onnxruntime, and by its active weights."""

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from granet.deploy.compiled import compile_sparse
from granet.deploy.onnx import open_onnx
from granet.training.device import pick_precision
from granet.types import Masks

CPU = torch.device("cpu")


class InBf16(nn.Module):
    """A network whose weights are rounded to bf16 once."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).to(torch.bfloat16)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """float32 -> float32."""
        return self.model(images_NCHW.to(torch.bfloat16)).float()


class UnderAutocast(nn.Module):
    """A network whose sparse convolutions compute in bf16."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """float32 -> float32."""
        with torch.autocast("cpu", torch.bfloat16):
            return self.model(images_NCHW).float()


class InOnnxruntime(nn.Module):
    """An ONNX file in onnxruntime, as many threads as torch."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._session = open_onnx(path)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """float32 -> float32."""
        (logits,) = self._session.run(None, {"images": images_NCHW.contiguous().numpy()})
        return torch.from_numpy(logits)

    def __deepcopy__(self, memo: dict) -> "InOnnxruntime":
        return self


def runtimes(
    model: nn.Module, masks: Masks, onnx: Path, *, with_compiler: bool = False
) -> dict[str, nn.Module]:
    """The ways to run ``model`` in eval mode, by name; in bf16 too where the processor computes in it.

    ``onnx`` is the file of the network; ``with_compiler``: torch.compile too, which compiles for every batch size at
    the first call. Raises UserError as `compile_sparse` does, and where onnxruntime is missing.
    """
    dense = copy.deepcopy(model).to(CPU).eval()
    sparse = compile_sparse(dense, masks)
    in_bf16 = pick_precision("auto", CPU) == "bf16"
    ways: dict[str, nn.Module] = {"fp32": dense}
    if in_bf16:
        ways["bf16"] = InBf16(dense)
    if with_compiler:
        ways["torch.compile"] = torch.compile(copy.deepcopy(ways["bf16" if in_bf16 else "fp32"]))  # pyright: ignore[reportArgumentType]
    ways |= {"onnxruntime": InOnnxruntime(onnx), "sparse fp32": sparse}
    if in_bf16:
        ways["sparse bf16"] = UnderAutocast(copy.deepcopy(sparse))
    return ways
