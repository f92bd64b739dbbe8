"""Where a run computes, and how exactly: device, precision, compiler."""

import os
import shutil
from typing import Any

import torch
from torch import nn

from granet.common import distributed
from granet.types import UserError


def pick_device(name: str) -> torch.device:
    """The torch device for ``auto | cpu | cuda | ...`` (train.device). Raises UserError where it is not there."""
    if name in ("auto", "cuda") and distributed.num_started() > 1 and torch.cuda.is_available():
        name = f"cuda:{torch.cuda.current_device()}"
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.mps.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).item()
        device = torch.device(name)
        if device.type == "cuda" and device.index is not None:
            torch.cuda.set_device(device)  # CUDA graphs are recorded on the current one
        return device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"train.device={name!r} cannot be used here; try auto or cpu") from error


def pick_precision(name: str, device: torch.device) -> str:
    """``fp32`` or ``bf16`` for train.precision; ``auto`` is bf16 where the device computes in it natively."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    native = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return "bf16" if native else "fp32"


def check_compiler() -> None:
    """Raise UserError where torch.compile finds no C++ compiler for what it generates."""
    names = [os.environ.get("CXX", "g++"), "c++", "clang++"]
    if not any(map(shutil.which, names)):
        raise UserError(
            f"train.compile=true needs a C++ compiler, and none of {', '.join(names)} is there; "
            "install g++, or write compile: false"
        )


def compile_(model: nn.Module) -> None:
    """`nn.Module.compile`, a graph for each shape, that also compiles an nn.Sequential.

    torch 2.11 leaves code of torch.nn alone where a call begins in it, and would compute such a network as it is; so
    the call begins here.
    """
    call = model._call_impl

    def called(*arguments: Any, **options: Any) -> Any:
        return call(*arguments, **options)

    model._compiled_call_impl = torch.compile(called, dynamic=False)
