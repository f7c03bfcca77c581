"""Norms of linear maps whose weights move slowly: singular vectors kept from call to call.

    v ← TᵀT w / ‖TᵀT w‖,  u = T v / ‖T v‖  without gradients,  then ⟨u, T v⟩ with them: its gradient is u vᵀ.

w is v with a trace of the vector that the first call started from.  Where T consists of parts that share no
inputs (a block diagonal or pruned matrix), what v holds of the weaker ones would shrink in every call, to an
exact 0, and a part that outgrows the others later would never be seen again.

Miyato, Kataoka, Koyama, Yoshida (2018), "Spectral Normalization for Generative Adversarial Networks", ICLR.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["PowerSteps"]

FIRST = 30
"""Steps of the first call; later ones make one, since weights move little in a step of training."""
TRACE = 2.0**-60
"""Of the start vector: rounded away wherever v is not 0 itself, and far from underflow where it is.  A part
that became r times as strong as what v holds takes the lead after about 21/log r calls."""


class PowerSteps:
    """Right singular vectors under names."""

    def __init__(self) -> None:
        self._right: dict[str, Tensor] = {}
        self._start: dict[str, Tensor] = {}

    def norms(
        self, name: str, apply: Callable[[Tensor, Tensor], Tensor], weight: Tensor, shape: Sequence[int]
    ) -> Tensor:
        """‖T v‖ for each map of a batch: from below, differentiable in the weight.

        Args:
            name: under which v is kept.
            apply: (weight, v) ↦ T v, each entry of the batch by itself.
            weight: of T; its first axis is that of the maps, or holds equally many rows of each, one map
                after the other.
            shape: of v, (maps, …).

        Returns:
            (maps,).
        """
        v = self._right.get(name)
        steps = FIRST if v is None else 1
        if v is None:
            generator = torch.Generator().manual_seed(0)
            v = _unit(torch.randn(*shape, generator=generator, dtype=torch.float64))
            self._start[name] = v
        v = v.to(weight.device, weight.dtype)
        start = self._start[name] = self._start[name].to(v)
        # About 1 in size, so that no square of a large or small weight leaves the type.
        fixed = _scaled(weight.detach(), maps=len(v))
        for _ in range(steps):
            at = torch.add(v, start, alpha=TRACE).requires_grad_()
            with torch.enable_grad():
                image = apply(fixed, at)
                (back,) = torch.autograd.grad(image, at, _unit(image.detach()))
            # A map that is zero or not finite tells nothing of where it will grow: v stays.
            sizes = _sizes(back)
            v = torch.where((sizes > 0) & sizes.isfinite(), _unit(back), v)
        self._right[name] = v
        with torch.no_grad():
            u = _unit(apply(fixed, v))
        norms: Tensor = (u * apply(weight, v)).flatten(1).sum(dim=1)
        return norms


def _scaled(weight: Tensor, maps: int) -> Tensor:
    """Divided by the largest entry, of each map by itself."""
    rows = weight.reshape(maps, -1)
    sizes = _sizes(rows)
    return (rows / torch.where((sizes > 0) & sizes.isfinite(), sizes, 1)).reshape(weight.shape)


def _sizes(v: Tensor) -> Tensor:
    """The largest entry of each of a batch, shaped to multiply it."""
    sizes: Tensor = v.flatten(1).abs().amax(dim=1)
    return sizes.reshape(-1, *[1] * (v.dim() - 1))


def _unit(v: Tensor) -> Tensor:
    """Each of a batch with length 1; 0 stays 0."""
    sizes = _sizes(v)
    v = v / torch.where(sizes > 0, sizes, 1)
    lengths: Tensor = torch.linalg.vector_norm(v.flatten(1), dim=1).clamp(min=1)
    return v / lengths.reshape(sizes.shape)
