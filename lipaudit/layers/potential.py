"""Residual blocks that step down a convex potential: y = x − Wᵀ diag(s) φ(Wx + b), s ≥ 0.

Proved: with slopes of φ in [0, 1] the Jacobian is I − WᵀDSW, 0 ≤ D ≤ I, whose eigenvalues lie in
[1 − ‖S^½W‖², 1]: the block has constant 1 as long as ‖S^½W‖² ≤ 2.  CPL and SLL are two ways to choose s.

Meunier, Delattre, Araujo, Allauzen (2022), "A dynamical system perspective for Lipschitz neural networks",
ICML.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from lipaudit.errors import UsageError
from lipaudit.layers.derived import has_hooks
from lipaudit.layers.verified import MOST, Fit, dense_norm, proved_norm
from lipaudit.spectral import Conv

__all__ = ["PotentialBlock", "check_activation", "potential_step", "representable", "stored_step"]

MONOTONE = (nn.ReLU, nn.ReLU6, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Hardtanh, nn.Softsign, nn.Hardsigmoid)
"""Activations with all slopes in [0, 1]; GELU, SiLU and Mish have negative ones and slopes above 1."""


SMALLEST_THRESHOLD = 20.0
"""Above threshold/β torch's softplus is x: a jump by log1p(e^−threshold)/β.  From 20 on that is 1e-10 of x
there, less than the rounding of float32; at a threshold of 0 it is log 2/β."""
BETAS = (1e-6, 1e6)
"""Between these no value of softplus overflows that float32 can hold as x."""


def check_activation(layer: str, activation: nn.Module | None) -> nn.Module:
    """An activation with slopes in [0, 1]; `nn.ReLU()` for None.

    Raises:
        UsageError: it is not known to be one, jumps, or was made to return something else.
    """
    if activation is None:
        return nn.ReLU()
    if type(activation) not in MONOTONE:
        names = ", ".join(kind.__name__ for kind in MONOTONE)
        raise UsageError(
            f"{layer} does not allow activation={activation!r}",
            hint=f"allowed, with slopes in [0, 1]: {names}",
        )
    if has_hooks(activation) or "forward" in vars(activation):
        raise UsageError(
            f"{layer} does not allow activation={activation!r} with forward hooks or a forward "
            "pass of its own",
            hint="remove them: nothing is proved of what they may return",
        )
    if isinstance(activation, nn.Softplus):
        _check_softplus(layer, activation)
    return activation


def _check_softplus(layer: str, phi: nn.Softplus) -> None:
    # Written so that NaN is refused as well.
    if not (BETAS[0] <= phi.beta <= BETAS[1] and phi.threshold >= SMALLEST_THRESHOLD):
        raise UsageError(
            f"{layer} does not allow activation={phi!r}: it jumps at its threshold, or is not finite",
            hint=f"allowed: beta from {BETAS[0]} to {BETAS[1]}, threshold from {SMALLEST_THRESHOLD:.0f} on",
        )


def potential_step(x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None, phi: nn.Module) -> Tensor:
    """x − Wᵀ diag(s) φ(Wx + b): dense on the last axis, or a kernel with zero padding "same", k odd."""
    if weight.dim() == 2:
        return x - F.linear(scale * phi(F.linear(x, weight, bias)), weight.t())
    padding = [k // 2 for k in weight.shape[2:]]
    hidden = phi(F.conv2d(x, weight, bias, padding=padding))
    return x - F.conv_transpose2d(scale[:, None, None] * hidden, weight, padding=padding)


def representable(scale: Tensor, dtype: torch.dtype) -> Tensor:
    """A scale s ≥ 0 rounded down to 0 or a normal number of that type: blocks with smaller s are as good."""
    number = torch.finfo(dtype)
    return torch.where(scale < number.tiny, 0.0, scale.clamp(max=number.max))


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

    return stored, fit(representable(scale, fit.dtype), squared, 2 * MOST)


class PotentialBlock(nn.Module):
    """y = x − Wᵀ diag(s) φ(Wx + b) with stored W and s.

    Args:
        weight: (hidden, n), or a kernel (hidden, c, k, k).
        scale: (hidden,).
        bias: (hidden,), or None.
        activation: φ.
        image: (h, w), the only size of image that the constant is proved for; None for vectors, and for
            scales that hold at every size.
    """

    def __init__(
        self,
        weight: Tensor,
        scale: Tensor,
        bias: Tensor | None,
        activation: nn.Module,
        image: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        self.weight, self.scale = nn.Parameter(weight), nn.Parameter(scale)
        self.bias = None if bias is None else nn.Parameter(bias)
        self.activation = copy.deepcopy(check_activation("PotentialBlock", activation))
        self.image = image

    def forward(self, x: Tensor) -> Tensor:
        """The shape stays.

        Raises:
            UsageError: the image has another size than the one it was frozen for.
        """
        if self.image is not None and tuple(x.shape[-2:]) != self.image:
            raise UsageError(
                f"frozen for images that are {self.image}, not {tuple(x.shape[-2:])}, where it may stretch",
                hint="freeze the model again with an example of the new size",
            )
        return potential_step(x, self.weight, self.scale, self.bias, self.activation)
