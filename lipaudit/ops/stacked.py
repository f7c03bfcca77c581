"""Many matrices side by side times many columns, without copies of the matrices.

(W x)_a = W_a x_a.  Run over a batch by `torch.vmap`, torch would repeat all matrices for every sample; here
the samples become further columns.  The map is linear, so its derivative in x is itself, and the transposed
matrices pull back.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["stacked"]


def stacked(matrices: Tensor, x: Tensor) -> Tensor:
    """(a, m, s) times (a, s, k) is (a, m, k); the matrices are constants."""
    result: Tensor = _Stacked.apply(matrices, x)
    return result


class _Stacked(torch.autograd.Function):
    """The rules by which torch maps and differentiates it."""

    @staticmethod
    def forward(matrices: Tensor, x: Tensor) -> Tensor:
        """The products."""
        return torch.bmm(matrices, x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:  # noqa: ANN401
        """Keep the matrices for both derivatives."""
        del output
        ctx.save_for_backward(inputs[0])
        ctx.save_for_forward(inputs[0])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor]:  # noqa: ANN401
        """Back through the transposed matrices."""
        return None, stacked(ctx.saved_tensors[0].mT, grads[0])

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:  # noqa: ANN401
        """Forward through the same ones."""
        return stacked(ctx.saved_tensors[0], tangents[1])

    @staticmethod
    def vmap(
        info: object, in_dims: tuple[int | None, int | None], matrices: Tensor, x: Tensor
    ) -> tuple[Tensor, int]:
        """Samples as columns."""
        del info
        where, place = in_dims
        if where is not None:
            msg = "the matrices are constants, not one stack per sample"
            raise NotImplementedError(msg)
        columns = x.movedim(place or 0, -1)
        made = stacked(matrices, columns.flatten(2))
        return made.unflatten(-1, columns.shape[2:]), 3
