"""What becomes of a sparse network after training: filters cut out, an ONNX file, a packed file, and how fast it is.

Masks only simulate sparsity: a masked network computes with its zeros. `shrink` makes it smaller for real, where whole
filters are pruned.
"""

import copy
import json
import os
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from granet import masks as masks_
from granet.coupling import channel_groups
from granet.granularity import ChannelGroup
from granet.maskable import MASKABLE, maskable_weights
from granet.types import Masks, Tensors, UserError

ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
SHAPES, MASK, ACTIVE = "shapes", "mask:", "active:"
"""Names in a packed file: of its header's entry, and before the name of a masked weight."""


def shrink(model: nn.Module, masks: Masks) -> nn.Module:
    """A dense copy of ``model`` without its pruned channels: smaller, with the same outputs in eval mode.

    A channel goes where the filters that make it are inactive in ``masks`` (weights not named are active) and the
    vectors over it (BatchNorm, biases) are zero: only then is it zero itself, and not a constant. One channel of every
    group stays. Device, memory format and modes are the model's. Raises UserError for masks of another network, and as
    `channel_groups` does.
    """
    check_masks(maskable_weights(model), masks)
    kept = {group: _kept(group, model, masks) for group in channel_groups(model)}
    smaller = copy.deepcopy(model)
    modules: dict[str, Any] = dict(smaller.named_modules())
    for group, channels in kept.items():
        for name in (*group.outputs, *group.vectors):
            _cut(smaller.get_parameter(name), 0, channels)
        for name in group.inputs:
            _cut(smaller.get_parameter(name), 1, channels)
        for name in group.norms:
            for buffer in modules[name].buffers():
                if buffer.dim() == 1:  # num_batches_tracked is a number
                    _cut(buffer, 0, channels)
            modules[name].num_features = len(channels)
    for module in modules.values():
        if isinstance(module, MASKABLE):
            kind = "features" if isinstance(module, nn.Linear) else "channels"
            for side, size in zip(("out", "in"), module.weight.shape[:2], strict=True):
                setattr(module, f"{side}_{kind}", size)
    return smaller


def _kept(group: ChannelGroup, model: nn.Module, masks: Masks) -> Tensor:
    """Indices of the channels that stay, in order."""
    everywhere = torch.ones(group.size, dtype=torch.bool)
    alive = ~everywhere
    for name in group.outputs:
        alive |= masks[name].flatten(1).any(1).cpu() if name in masks else everywhere
    for name in group.vectors:
        alive |= (model.get_parameter(name).detach() != 0).cpu()
    for name in group.norms:  # without weight and bias it makes a constant of zero: minus the mean
        alive |= everywhere if model.get_submodule(name).weight is None else ~everywhere
    return alive.nonzero().flatten() if alive.any() else torch.tensor([0])


def _cut(tensor: Tensor, axis: int, channels: Tensor) -> None:
    """Keep these channels of a parameter or buffer, in place: whoever shares it sees the smaller one."""
    smaller = tensor.data.index_select(axis, channels.to(tensor.device))
    if tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        smaller = smaller.contiguous(memory_format=torch.channels_last)
    tensor.data = smaller


def check_masks(weights: Tensors, masks: Masks) -> None:
    """Raise UserError unless every mask has its weight, of its shape, that is zero where the mask is inactive."""
    for name, mask in masks.items():
        if name not in weights:
            raise UserError(f"masks: {name!r} is no weight of this model; give the masks of the same run")
        if mask.dtype != torch.bool or mask.shape != weights[name].shape:
            raise UserError(
                f"masks[{name!r}] is {mask.dtype} {tuple(mask.shape)} but must be bool of the weight's shape, "
                f"{tuple(weights[name].shape)}; give the masks of the same run"
            )
        if num_wrong := int((weights[name].detach()[~mask.to(weights[name].device)] != 0).sum()):
            raise UserError(
                f"masks[{name!r}]: {num_wrong} weights are not zero where it is inactive; give the same run's masks"
            )


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
    _write(path, program.model_proto.SerializeToString(deterministic=True))


def onnx_outputs(path: Path, images_NCHW: Tensor) -> Tensor:
    """Logits of an ONNX file, computed by onnxruntime on the CPU. Raises UserError where a package is missing."""
    _need_onnx()
    import onnxruntime  # slow to import

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"images": images_NCHW.cpu().numpy()})
    return torch.from_numpy(logits)


def _need_onnx() -> None:
    if missing := [name for name in ONNX_PACKAGES if find_spec(name) is None]:
        raise UserError(
            f"ONNX files need the package {missing[0]}; run: pip install -c constraints.txt -r requirements-export.txt"
        )


def save_packed(path: Path, weights: Mapping[str, Tensor], masks: Masks) -> int:
    """Write a state_dict with its masks in little space, atomically; return the file's size in bytes.

    A masked weight becomes its mask, eight positions to a byte, and its active values; all else stays as it is.
    Nothing is rounded: `load_packed` gives back every bit, but for the sign of inactive zeros (-0.0 comes back as
    0.0). Raises UserError for masks of another network.
    """
    check_masks(dict(weights), masks)
    packed = {MASK + name: bits for name, bits in masks_.pack(masks).items()}
    for name, value in weights.items():
        value = value.detach().cpu()
        if name in masks:
            packed[ACTIVE + name] = value[masks[name].cpu()]
        else:
            packed[name] = value.contiguous()
    shapes = {name: list(mask.shape) for name, mask in masks.items()}
    content = save(packed, {SHAPES: json.dumps(shapes)})
    _write(path, content)
    return len(content)


def load_packed(path: Path) -> tuple[Tensors, Masks]:
    """Weights and masks from what `save_packed` wrote, on the CPU. Raises UserError for any other file."""
    try:
        with safe_open(path, framework="pt") as file:
            shapes = json.loads((file.metadata() or {})[SHAPES])
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
    except (SafetensorError, KeyError):
        raise UserError(f"{path} is no packed file; save_packed writes them") from None
    masks = masks_.unpack({name: stored.pop(MASK + name) for name in shapes}, shapes)
    weights = {}
    for name, mask in masks.items():
        active = stored.pop(ACTIVE + name)
        weights[name] = torch.zeros(mask.shape, dtype=active.dtype)
        weights[name][mask] = active
    return stored | weights, masks


def _write(path: Path, content: bytes) -> None:
    """Write a file or leave the old one untouched."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@torch.inference_mode()
def latencies(
    models: Sequence[nn.Module], image_shape: Sequence[int], batch_size: int, *, time_s: float = 3.0
) -> list[float]:
    """Seconds that each model takes for a batch in eval mode: the median, models taking turns.

    ``image_shape`` is (C, H, W). Measured on the models' device for about ``time_s`` in all, 7 turns at least. Taking
    turns lets whatever else the machine does slow all of them alike.
    """
    nets = [copy.deepcopy(model).eval() for model in models]
    first = next(nets[0].parameters())
    images_NCHW = torch.randn(batch_size, *image_shape, device=first.device, dtype=first.dtype)
    images_NCHW = images_NCHW.contiguous(memory_format=torch.channels_last)

    def measure(net: nn.Module) -> float:
        started = time.perf_counter()
        net(images_NCHW)
        if first.device.type == "cuda":
            torch.cuda.synchronize(first.device)
        return time.perf_counter() - started

    for net in nets * 2:  # the first calls choose algorithms and allocate
        net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        measure(net)
    turns: list[list[float]] = []
    until = time.perf_counter() + time_s
    while len(turns) < 7 or time.perf_counter() < until:
        turns.append([measure(net) for net in nets])
    return [median(times) for times in zip(*turns, strict=True)]
