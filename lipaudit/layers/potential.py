"""Residual blocks that step down a convex potential: y = x − Wᵀ diag(s) φ(Wx + b), s ≥ 0.

Proved: with slopes of φ in [0, 1] the Jacobian is I − WᵀDSW, 0 ≤ D ≤ I, whose eigenvalues lie in
[1 − ‖S^½W‖², 1]: the block has constant 1 as long as ‖S^½W‖² ≤ 2.  CPL and SLL are two ways to choose s.

Meunier, Delattre, Araujo, Allauzen (2022), "A dynamical system perspective for Lipschitz neural networks",
ICML.
"""

from __future__ import annotations

import copy

import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from lipaudit.errors import UsageError
from lipaudit.layers.verified import MOST, Fit, dense_norm, proved_norm
from lipaudit.spectral import Conv

__all__ = ["PotentialBlock", "check_activation", "potential_step", "stored_step"]

MONOTONE = (nn.ReLU, nn.ReLU6, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Hardtanh, nn.Softsign, nn.Hardsigmoid)
"""Activations with all slopes in [0, 1]; GELU, SiLU and Mish have negative ones and slopes above 1."""


def check_activation(layer: str, activation: nn.Module | None) -> nn.Module:
    """An activation with slopes in [0, 1]; `nn.ReLU()` for None.

    Raises:
        UsageError: it is not known to be one.
    """
    if activation is None:
        return nn.ReLU()
    if type(activation) not in MONOTONE:
        names = ", ".join(kind.__name__ for kind in MONOTONE)
        raise UsageError(
            f"{layer} does not allow activation={activation!r}",
            hint=f"allowed, with slopes in [0, 1]: {names}",
        )
    return activation


def potential_step(x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None, phi: nn.Module) -> Tensor:
    """x − Wᵀ diag(s) φ(Wx + b): dense on the last axis, or a kernel with zero padding "same", k odd."""
    if weight.dim() == 2:
        return x - F.linear(scale * phi(F.linear(x, weight, bias)), weight.t())
    padding = [k // 2 for k in weight.shape[2:]]
    hidden = phi(F.conv2d(x, weight, bias, padding=padding))
    return x - F.conv_transpose2d(scale[:, None, None] * hidden, weight, padding=padding)


def stored_step(weight: Tensor, scale: Tensor, image: tuple[int, ...], fit: Fit) -> tuple[Tensor, Tensor]:
    """W and s as stored, with proved ‖S^½W‖² ≤ 2."""
    stored = weight.detach().to(fit.dtype)

    def squared(s: Tensor) -> float:
        root = s.double().sqrt().reshape(-1, *[1] * (weight.dim() - 1))
        scaled = root * stored.double()
        if weight.dim() == 2:
            return dense_norm(scaled) ** 2
        padding = tuple(k // 2 for k in weight.shape[2:])
        return proved_norm(Conv(scaled, image, padding=padding)) ** 2

    return stored, fit(scale, squared, 2 * MOST)


class PotentialBlock(nn.Module):
    """y = x − Wᵀ diag(s) φ(Wx + b) with stored W and s.

    Args:
        weight: (hidden, n), or a kernel (hidden, c, k, k).
        scale: (hidden,).
        bias: (hidden,), or None.
        activation: φ.
    """

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None, activation: nn.Module) -> None:
        super().__init__()
        self.weight, self.scale = nn.Parameter(weight), nn.Parameter(scale)
        self.bias = None if bias is None else nn.Parameter(bias)
        self.activation = copy.deepcopy(activation)

    def forward(self, x: Tensor) -> Tensor:
        """The shape stays."""
        return potential_step(x, self.weight, self.scale, self.bias, self.activation)
