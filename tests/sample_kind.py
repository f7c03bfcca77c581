"""What a sample of an operation is: a module, the shape it runs on, and what is known about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["BOX", "LINE", "MAP", "SPATIAL", "VECTOR", "Call", "Sample", "filled", "seeded"]

LINE, MAP, BOX = (1, 4, 7), (1, 4, 5, 6), (1, 4, 3, 4, 3)
SPATIAL = {1: LINE, 2: MAP, 3: BOX}
VECTOR = (1, 6)


class Call(nn.Module):
    """A function as a module; tensors it needs are its buffers."""

    def __init__(self, function: Callable[..., Tensor], **buffers: Tensor) -> None:
        super().__init__()
        self.function = function
        for name, value in buffers.items():
            self.register_buffer(name, value)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.buffers())


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """What is known of a module.

    Args:
        linear: it is affine.
        exact: its gain is its norm.
        true: the Lipschitz constant.
        rough: torch's own derivative is a float32 number (its kernels hold float(1/6) or float(alpha)).
    """

    name: str
    module: nn.Module
    shape: tuple[int, ...]
    linear: bool = False
    exact: bool = True
    true: float | None = None
    rough: bool = False


def seeded(seed: int, *shape: int) -> Tensor:
    """Fixed normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def filled(module: nn.Module, seed: int = 0) -> nn.Module:
    """Every parameter and running statistic drawn anew; variances positive."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double().eval()
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            drawn = torch.randn(value.shape, generator=generator, dtype=torch.float64)
            value.copy_(drawn.abs() + 0.1 if "var" in name else drawn)
    return module
