"""How far what a batch norm divides by follows the weights before it, seen in a training step.

In evaluation mode batch norm divides by the running deviation, which follows, some steps later, the deviation
of its input: a function of all weights before it.  As T = diag(γ/σ)·W the gradient in those weights is that
of −log σ, taken on the batch of the step.  Without it the loss would shrink weights whose scale the next
batch norm gives back at once, to no end but numbers near 0.

The gradient goes through the graph of that step, which is gone once a backward pass has used it, and wrong
once weights have moved.  Then, and before the first step, the length of the rows stands in, which scales with
the deviation as the weights of the last layer do (`LinearLayer.weight`).
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lipaudit.errors import UsageError
from lipaudit.training.layer import Norm

__all__ = ["Capture"]

SAMPLES, VALUES = 32, 1024
"""At least so many samples of a batch and values of a channel: the gradient of log σ needs no more, and costs
so much less."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class _Kept:
    """The input of a batch norm, with what the parameters had been changed so far."""

    x: Tensor
    versions: list[int]


class Capture:
    """Hooks that keep the input of each batch norm of the last training step, until it is taken or used up.

    It pickles with a model, without what it keeps.

    Args:
        norms: whose inputs to keep.
        parameters: on which these depend.
    """

    def __init__(self, norms: Iterable[Norm], parameters: Iterable[Tensor]) -> None:
        self._kept: dict[int, _Kept] = {}
        self._parameters = list(parameters)
        self._handles = [norm.register_forward_pre_hook(self) for norm in norms]

    def __call__(self, norm: nn.Module, args: tuple[Tensor, ...]) -> None:
        """The hook."""
        if args and norm.training and torch.is_grad_enabled():
            cells = math.prod(args[0].shape[2:])
            kept = _Kept(args[0][: max(SAMPLES, VALUES // cells)], self._versions())
            self._kept[id(norm)] = kept
            if args[0].requires_grad:
                # By weak references: the graph holds its hooks, and what is kept holds the graph.
                args[0].register_hook(partial(_used, weakref.ref(self), id(norm), weakref.ref(kept)))

    def follow(self, norm: Norm, image: int | None = None) -> Tensor | None:
        """1 with the gradient of 1/σ relative to itself, (channels,); None where nothing is kept.

        Args:
            norm: of which batch norm.
            image: axes of an image of the layer that it was paired with; None if it stands alone.

        Raises:
            UsageError: its channels are not the outputs of that layer.
        """
        kept = self._kept.pop(id(norm), None)
        if kept is None or kept.versions != self._versions() or _is_freed(kept.x):
            return None
        if image is not None and kept.x.dim() != 2 + image:
            raise UsageError(
                f"a batch norm after a layer got tensors of shape {(-1, *kept.x.shape[1:])}, whose second "
                "axis does not hold that layer's outputs",
                hint="pass an input, which shows what follows what: regularizer(model, example)",
            )
        axes = [axis for axis in range(kept.x.dim()) if axis != 1]
        variance = kept.x.float().var(dim=axes, correction=0) + norm.eps
        return (variance.detach() / variance).sqrt()

    def forget(self, norm: int, kept: _Kept | None) -> None:
        """Let go of what one batch norm got, if that is what is kept of it."""
        if kept is not None and self._kept.get(norm) is kept:
            del self._kept[norm]

    def close(self) -> None:
        """Take the hooks away, and let go of what they kept."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._kept.clear()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing of a running step."""
        return {"_handles": [], "_kept": {}, "_parameters": []}

    def _versions(self) -> list[int]:
        """How often each parameter was changed in place."""
        return [parameter._version for parameter in self._parameters]  # noqa: SLF001 - torch has no other way


def _is_freed(x: Tensor) -> bool:
    """Whether the graph of a compiled pass, whose inside knows no hooks, was used up: it is one node."""
    try:
        getattr(x.grad_fn, "saved_tensors", None)
    except RuntimeError:
        return True
    return False


def _used(capture: weakref.ref[Capture], norm: int, kept: weakref.ref[_Kept], _gradient: Tensor) -> None:
    """A backward pass came through what was kept; unless it is one to be differentiated, it left no graph."""
    if not torch.is_grad_enabled() and (holder := capture()) is not None:
        holder.forget(norm, kept())
