"""One turn of a training loop, as README has it."""

from torch import Tensor
from torch.optim import Optimizer

from granet import Sparsifier


def turn(loss: Tensor, optimizer: Optimizer, sparsifier: Sparsifier) -> None:
    """Backward pass, optimizer step and mask update."""
    loss.backward()
    sparsifier.after_backward()
    optimizer.step()
    sparsifier.after_step()
    optimizer.zero_grad()
