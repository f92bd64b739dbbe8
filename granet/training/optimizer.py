"""The optimizer of a run: which it is, in which groups its parameters lie, and what its step may change at most."""

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from granet.projection import GRADIENT, Projection, learns_threshold
from granet.training.config import TrainConfig

NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
"""Layers that normalise; those of torchvision and timm are kinds of them."""
REGISTER = 16
"""float32 numbers in the widest register of today's CPUs."""


def build_optimizer(model: nn.Module, config: TrainConfig, projection: Projection = GRADIENT) -> Optimizer:
    """The optimizer of a run: torch's fused form on a GPU and, in groups of its own, where SGD's gives the CPU's bits.

    That is where a tensor fills the registers: what is left over at its end is rounded otherwise. A learned threshold,
    a single number in its weight's group, would be. The fused form reads a gradient as if it lay in memory as its
    weight does, which autograd sees to.
    """
    undecayed = without_decay(model, norms=not config.decay_norm, biases=not config.decay_bias)
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for name, p in model.named_parameters():
        fills = p.numel() % REGISTER == 0 and not learns_threshold(projection) and config.optimizer == "sgd"
        groups.setdefault((name not in undecayed, fills), []).append(p)  # the same on every device
    listed = [
        {"params": ps, "weight_decay": config.weight_decay * decays, "fused": _fused(ps[0].device, fills)}
        for (decays, fills), ps in groups.items()
    ]
    if config.optimizer == "sgd":
        return SGD(listed, config.lr, config.momentum, nesterov=config.nesterov)
    kind = {"adam": Adam, "adamw": AdamW}[config.optimizer]
    return kind(listed, config.lr, (config.betas[0], config.betas[1]), config.eps)


def without_decay(model: nn.Module, *, norms: bool, biases: bool) -> set[str]:
    """The parameters that weight decay leaves alone: those of ``norms``; ``biases``, that is all vectors.

    With these go the names that a model of timm gives itself (`no_weight_decay`): tokens, embeddings of positions.
    """
    left: set[str] = set()
    if norms:
        kept = {id(p) for m in model.modules() if isinstance(m, NORMS) for p in m.parameters(recurse=False)}
        left |= {name for name, p in model.named_parameters() if id(p) in kept}
    if biases:
        left |= {name for name, p in model.named_parameters() if p.dim() <= 1}
        left |= set(getattr(model, "no_weight_decay", set)())
    return left


def _fused(device: torch.device, fills: bool) -> bool | None:
    return fuses(device) or (fills and device.type == "cpu") or None


def fuses(device: torch.device) -> bool:
    """Whether optimizers of a device are fused whatever the shapes."""
    return device.type == "cuda"


@torch.no_grad()
def clip_(model: nn.Module, norm: float | None) -> None:
    """Scale the gradients that the optimizer is about to see down to a norm of ``norm``, of all together. None: no.

    Waits for no device. After a backward pass over several processes all have the same gradients, so the same norm.
    """
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    if norm is not None and gradients:
        norms = torch._foreach_norm(gradients)  # pyright: ignore[reportPrivateImportUsage]
        factor = norm / (torch.linalg.vector_norm(torch.stack(norms)) + 1e-6)
        torch._foreach_mul_(gradients, factor.clamp(max=1.0))  # pyright: ignore[reportPrivateImportUsage]
