"""Where tensors lie."""

from typing import Any

import torch
from torch import Tensor


def moved(value: Any, device: torch.device) -> Any:
    """``value`` on ``device`` where it is a tensor of the host, as a DataLoader has them; anything else as it is."""
    return value.to(device) if isinstance(value, Tensor) and value.device.type == "cpu" else value
