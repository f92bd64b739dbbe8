"""A network as an ONNX file, and what onnxruntime makes of it."""

import copy
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from granet.common.files import atomic
from granet.types import UserError

ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def to_onnx(model: nn.Module, path: Path, image_shape: Sequence[int]) -> None:
    """Write ``model`` in eval mode as an ONNX file, images_NCHW -> logits_NK (float32), for any N.

    ``image_shape`` is (C, H, W). Written atomically, with no names of this machine's files in it. Raises UserError
    where a package is missing.
    """
    _need_onnx()
    net = copy.deepcopy(model).cpu().float().eval()
    program = torch.onnx.export(
        net,
        (torch.zeros(2, *image_shape),),
        dynamo=True,
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("N")},),
        verbose=False,
    )
    assert program is not None
    graph = program.model.graph
    for part in (
        program.model,
        graph,
        *graph,
        *graph.inputs,
        *(value for node in graph for value in node.outputs),
    ):
        part.metadata_props.clear()  # stack traces: they name files, so every machine would write other bytes
    atomic(path, program.model_proto.SerializeToString(deterministic=True))


def open_onnx(path: Path) -> Any:
    """A session of onnxruntime on the CPU, as many threads as torch. Raises UserError where a package is missing."""
    _need_onnx()
    import onnxruntime  # slow to import

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry(
        "session.intra_op.allow_spinning", "0"
    )  # it would hold up whatever comes next
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def onnx_outputs(path: Path, images_NCHW: Tensor) -> Tensor:
    """Logits of an ONNX file, computed by onnxruntime on the CPU. Raises UserError where a package is missing."""
    (logits,) = open_onnx(path).run(None, {"images": images_NCHW.cpu().numpy()})
    return torch.from_numpy(logits)


def _need_onnx() -> None:
    if missing := [name for name in ONNX_PACKAGES if find_spec(name) is None]:
        raise UserError(
            f"ONNX files need the package {missing[0]}; run: pip install onnx onnxscript onnxruntime"
        )
