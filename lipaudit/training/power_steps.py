"""Norms of linear maps whose weights move slowly: singular vectors kept from call to call.

    v ← TᵀT v / ‖TᵀT v‖ without gradients,   then ‖T v‖ with them: its gradient in T is u vᵀ, u = T v/‖T v‖.

Miyato, Kataoka, Koyama, Yoshida (2018), "Spectral Normalization for Generative Adversarial Networks", ICLR.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["PowerSteps"]

FIRST = 30
"""Steps of the first call; later ones make one, since weights move little in a step of training."""


class PowerSteps:
    """Right singular vectors under names."""

    def __init__(self) -> None:
        self._right: dict[str, Tensor] = {}

    def norms(
        self, name: str, apply: Callable[[Tensor, Tensor], Tensor], weight: Tensor, shape: Sequence[int]
    ) -> Tensor:
        """‖T v‖ for each map of a batch: from below, differentiable in the weight.

        Args:
            name: under which v is kept.
            apply: (weight, v) ↦ T v, each entry of the batch by itself.
            weight: of T.
            shape: of v, (maps, …).

        Returns:
            (maps,).
        """
        v = self._right.get(name)
        steps = FIRST if v is None else 1
        if v is None:
            generator = torch.Generator().manual_seed(0)
            v = _unit(torch.randn(*shape, generator=generator, dtype=torch.float64))
        v = v.to(weight.device, weight.dtype)
        fixed = weight.detach()
        for _ in range(steps):
            at = v.detach().requires_grad_()
            with torch.enable_grad():
                image = apply(fixed, at)
                (back,) = torch.autograd.grad(image, at, image.detach())
            # A zero map tells nothing of where it will grow: v stays.
            v = torch.where(_lengths(back) > 0, _unit(back), v)
        self._right[name] = v
        norms: Tensor = torch.linalg.vector_norm(apply(weight, v).flatten(1), dim=1)
        return norms


def _lengths(v: Tensor) -> Tensor:
    """Of each entry of a batch, shaped to multiply it."""
    lengths: Tensor = torch.linalg.vector_norm(v.flatten(1), dim=1)
    return lengths.reshape(-1, *[1] * (v.dim() - 1))


def _unit(v: Tensor) -> Tensor:
    return v / _lengths(v).clamp(min=torch.finfo(v.dtype).tiny)
