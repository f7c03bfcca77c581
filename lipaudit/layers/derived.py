"""Layers whose weights are computed from free parameters, and kept while nothing changes.

    y = after(run(before(x), derive(parameters, image)))

`before` and `after` only move, append or drop entries.  In training every call derives anew.  In evaluation
the result is kept if no gradient can be asked of it: under `torch.no_grad()`, or when no parameter requires
one.  It is used again only where every parameter equals, entry by entry, the copy that was made when it was
derived, and dtype, device, image and settings are the same.  No edit can go unnoticed, whatever way it took
(`.data`, a view, another tensor in the same place): comparing is far cheaper than deriving, and certain,
which version counters are not.  What is kept is a copy as well: a layer may derive its parameter itself as
one of the values.  Nothing is kept of a layer with a parametrization or a forward hook, which may compute its
weights from what cannot be compared, and nothing of dual numbers, whose tangents the comparison does not see.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.forward_ad import unpack_dual
from torch.nn.modules import module as hooks_of_all
from torch.nn.utils.parametrize import is_parametrized

from lipaudit.errors import UsageError
from lipaudit.layers.arguments import DTYPES
from lipaudit.layers.verified import Fit

__all__ = ["Derived", "has_hooks", "has_hooks_for_all"]

Values = tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """Copies of derived values, and of what they were derived from."""

    sources: Values
    settings: tuple[object, ...]
    values: Values

    def fits(self, sources: Values, settings: tuple[object, ...]) -> bool:
        if settings != self.settings or len(sources) != len(self.sources):
            return False
        return all(map(_same, sources, self.sources))


def _same(one: Tensor, other: Tensor) -> bool:
    alike = (one.dtype, one.device, one.shape) == (other.dtype, other.device, other.shape)
    return alike and torch.equal(one, other)


class Derived(nn.Module):
    """Base of the layers; a family says how to `derive`, `run` and be `frozen`.

    Attributes:
        before, after: what moves, appends or drops entries.
        image: (h, w) behind `before` in the last call; () for vectors, None before the first call.
        images: all of them since a parameter was last written to, as far as version counters tell.
    """

    reads_images: ClassVar[bool] = False
    """Whether the layer has to know the size of its images."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Sequential()
        self.after = nn.Sequential()
        self.image: tuple[int, ...] | None = None
        self.images: tuple[tuple[int, ...], ...] = ()
        self._versions: tuple[int, ...] = ()
        self._kept: _Kept | None = None

    def derive(self, image: tuple[int, ...]) -> Values:
        """The effective weights for images of that size, differentiable in the parameters.

        A subclass that derives them from other attributes, too, shows those in `extra_repr`, by which changes
        of settings are noticed.
        """
        raise NotImplementedError

    def run(self, x: Tensor, *values: Tensor) -> Tensor:
        """The layer between `before` and `after`."""
        raise NotImplementedError

    def frozen(self, image: tuple[int, ...], fit: Fit, *values: Tensor) -> nn.Module:
        """A module that stores the values and computes `run`.

        Args:
            image: the size of image that it is for.
            fit: makes stored weights of float64 ones.
            values: float64, as `derive` returns them.
        """
        raise NotImplementedError

    def fits(self, x: Tensor) -> bool:
        """Whether the layer takes inputs of that shape."""
        raise NotImplementedError

    def image_of(self, x: Tensor) -> tuple[int, ...]:
        """() for vectors."""
        del x
        return ()

    def forward(self, x: Tensor) -> Tensor:
        """See the class.

        Raises:
            UsageError: the input has another number of channels or features, or of axes.
        """
        if not self.fits(x):
            raise UsageError(
                f"{type(self).__name__}({self.extra_repr()}) met an input of shape {tuple(x.shape)}",
                hint="the first number is that of the channels or features it takes",
            )
        x = self.before(x)
        image = self.image_of(x)
        if not torch.compiler.is_compiling():
            self._meet(image)
        result: Tensor = self.after(self.run(x, *self._current(image)))
        return result

    def _meet(self, image: tuple[int, ...]) -> None:
        """Take note of a size of image; a write that goes unnoticed leaves too many sizes, never too few."""
        versions = tuple(map(_version, self.parameters()))
        if len(versions) != len(self._versions) or any(map(int.__gt__, versions, self._versions)):
            self.images, self._versions = (), versions
        self.image = image
        if image not in self.images:
            self.images += (image,)

    def _current(self, image: tuple[int, ...]) -> Values:
        """The effective weights, kept ones where nothing changed.

        Raises:
            UsageError: parameters are of a type too coarse to derive weights in.
        """
        sources = (*self.parameters(), *self.buffers())
        if any(t.dtype not in DTYPES for t in sources):
            raise UsageError(
                f"{type(self).__name__} derives its weights in float32 or float64, not in {sources[0].dtype}",
                hint="train in float32 (torch.autocast is fine), freeze the model, then convert it",
            )
        if not self._may_keep(sources):
            return self._derived(image)
        settings = (image, self.extra_repr())
        kept = self._kept
        if kept is None or not kept.fits(sources, settings):
            # Not as inference tensors: those could not be met by a gradient later.
            with torch.inference_mode(mode=False), torch.no_grad():
                sources = tuple(t.detach().clone() for t in sources)
                kept = _Kept(sources, settings, tuple(t.clone() for t in self._derived(image)))
            self._kept = kept
        return kept.values

    def _derived(self, image: tuple[int, ...]) -> Values:
        device = next(self.parameters()).device.type
        if not torch.amp.is_autocast_available(device) or not torch.is_autocast_enabled(device):
            return self.derive(image)
        with torch.autocast(device, enabled=False):
            return self.derive(image)

    def _may_keep(self, sources: Values) -> bool:
        if self.training or torch.compiler.is_compiling():
            return False
        if is_parametrized(self) or has_hooks(self) or has_hooks_for_all():
            return False
        if torch.is_grad_enabled() and any(t.requires_grad for t in sources):
            return False
        return all(_has_numbers(t) and unpack_dual(t).tangent is None for t in sources)

    def __repr__(self) -> str:
        """As torch prints modules, without `before` and `after` where they are empty."""
        name = type(self).__name__
        idle = [part for part in (self.before, self.after) if not len(part)]
        parts = [f"({key}): {part!r}" for key, part in self.named_children() if part not in idle]
        if not parts:
            return f"{name}({self.extra_repr()})"
        inside = textwrap.indent("\n".join([self.extra_repr(), *parts]), "  ")
        return f"{name}(\n{inside}\n)"

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles start with nothing kept."""
        return {**self.__dict__, "_kept": None}


def has_hooks(module: nn.Module) -> bool:
    """Whether something runs before or behind the forward pass of a module, and may change it."""
    return bool(module._forward_pre_hooks or module._forward_hooks)  # noqa: SLF001 - torch has no other way


def has_hooks_for_all() -> bool:
    """Whether something runs before or behind the forward pass of every module."""
    return bool(hooks_of_all._global_forward_pre_hooks or hooks_of_all._global_forward_hooks)  # noqa: SLF001


def _version(tensor: Tensor) -> int:
    """How often it was written to; 0 where nobody counts."""
    return 0 if tensor.is_inference() else tensor._version  # noqa: SLF001 - torch has no other way


def _has_numbers(tensor: Tensor) -> bool:
    """Whether a tensor can be compared: not one of a tracer, a transform or the meta device."""
    try:
        return bool(tensor.data_ptr()) or tensor.numel() == 0
    except RuntimeError:
        return False
