"""Weights that a module recomputes on every call, computed once.

Parametrisations (`torch.nn.utils.parametrize`) and the older hooks of `weight_norm` and `spectral_norm`
derive the weight that is used from others that are stored.  In eval mode that weight is constant; it is
written down as torch computes it, in the module's own precision.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.utils import parametrize, remove_spectral_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from lipaudit.errors import InputRefused

__all__ = ["freeze", "is_computed"]


def _hooks(module: nn.Module) -> Iterator[tuple[int, SpectralNorm | WeightNorm]]:
    for key, hook in module._forward_pre_hooks.items():  # noqa: SLF001 - torch offers no other list
        if isinstance(hook, (SpectralNorm, WeightNorm)):
            yield key, hook


def _refuse_unsteady(part: nn.Module, name: str) -> None:
    """A parametrisation must give the same each time it is asked, or no weight stands for it."""
    values = [getattr(part, name).detach().clone() for _ in range(3)]
    if not all(torch.equal(values[0], value) for value in values[1:]):
        raise InputRefused(
            f"the parametrisation of {name!r} in a {type(part).__name__} gives another weight on every call",
            hint="in eval mode a weight must be a fixed function of what is stored: no noise, no counters",
        )


def is_computed(module: nn.Module) -> bool:
    """Does any submodule recompute a weight?"""
    return any(parametrize.is_parametrized(m) or any(True for _ in _hooks(m)) for m in module.modules())


def freeze(module: nn.Module, notes: list[str]) -> None:
    """Replace computed weights by their values, in place.

    Args:
        module: in eval mode.
        notes: gets one line if there were any.

    Raises:
        InputRefused: a computed weight is not the same on every call.
    """
    count = 0
    with torch.no_grad():
        for part in list(module.modules()):
            if parametrize.is_parametrized(part):
                for name in list(part.parametrizations):  # type: ignore[arg-type]
                    _refuse_unsteady(part, name)
                    parametrize.remove_parametrizations(part, name, leave_parametrized=True)
                    count += 1
            for key, hook in list(_hooks(part)):
                if isinstance(hook, SpectralNorm):
                    remove_spectral_norm(part, hook.name)
                else:
                    hook.remove(part)
                    part._forward_pre_hooks.pop(key, None)  # noqa: SLF001 - as remove_weight_norm does
                count += 1
    if count:
        notes.append(f"{count} parametrised weights were replaced by the values torch computes in eval mode")
