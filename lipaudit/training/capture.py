"""How far what a batch norm divides by follows the weights before it, seen in a training step.

In evaluation mode batch norm divides by the running deviation, which follows, some steps later, the deviation
of its input: a function of all weights before it.  As T = diag(γ/σ)·W the gradient in those weights is that
of −log σ, taken on the batch of the step.  Without it the loss would shrink weights whose scale the next
batch norm gives back at once, to no end but numbers near 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from lipaudit.errors import UsageError
from lipaudit.training.layer import Norm

__all__ = ["Capture"]

SAMPLES, VALUES = 32, 1024
"""At least so many samples of a batch and values of a channel: the gradient of log σ needs no more, and costs
so much less."""


class Capture:
    """Hooks that keep the input of each batch norm of the last training step, until it is taken.

    It pickles with a model, without what it keeps.
    """

    def __init__(self, norms: Iterable[Norm]) -> None:
        self._inputs: dict[int, Tensor] = {}
        self._handles = [norm.register_forward_pre_hook(self) for norm in norms]

    def __call__(self, norm: nn.Module, args: tuple[Tensor, ...]) -> None:
        """The hook."""
        if args and norm.training and torch.is_grad_enabled():
            cells = math.prod(args[0].shape[2:])
            self._inputs[id(norm)] = args[0][: max(SAMPLES, VALUES // cells)]

    def follow(self, norm: Norm, image: int | None = None) -> Tensor | float:
        """1 with the gradient of 1/σ relative to itself, (channels,); the number 1 where nothing was kept.

        Args:
            norm: of which batch norm.
            image: axes of an image of the layer that it was paired with; None if it stands alone.

        Raises:
            UsageError: its channels are not the outputs of that layer.
        """
        seen = self._inputs.pop(id(norm), None)
        if seen is None:
            return 1.0
        if image is not None and seen.dim() != 2 + image:
            raise UsageError(
                f"a batch norm after a layer got tensors of shape {(-1, *seen.shape[1:])}, whose second axis "
                "does not hold that layer's outputs",
                hint="pass an input, which shows what follows what: regularizer(model, example)",
            )
        axes = [axis for axis in range(seen.dim()) if axis != 1]
        variance = seen.float().var(dim=axes, correction=0) + norm.eps
        return (variance.detach() / variance).sqrt()

    def close(self) -> None:
        """Take the hooks away, and let go of what they kept."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._inputs = [], {}

    def __getstate__(self) -> dict[str, Any]:
        """Nothing of a running step."""
        return {"_handles": [], "_inputs": {}}
