"""Which stored tensors of two models differ?  Matched by name, then by content, then by shape.

Exporters rename tensors, transpose matrices and fold batch norms, so this is evidence for a reader and no
verdict: what the layers compute is compared in `layers.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.export import ExportedProgram

from lipaudit.difference.record import TensorGap
from lipaudit.load.labels import Titles, titled
from lipaudit.ops.pairs import paired

__all__ = ["stored_tensors", "tensor_gaps"]


def stored_tensors(program: ExportedProgram, titles: Titles) -> dict[str, Tensor]:
    """The floating tensors with more than one entry that the program holds, in float64 on the CPU.

    Complex ones have a last axis of real and imaginary parts.

    Args:
        program: of a model.
        titles: what its file calls modules and tensors.
    """
    held = {**program.constants, **program.state_dict}
    tensors = {name: value.detach() for name, value in held.items() if isinstance(value, Tensor)}
    return {
        _name(name, titles): (paired(value) if value.is_complex() else value.double()).cpu()
        for name, value in tensors.items()
        if (value.is_floating_point() or value.is_complex()) and value.numel() > 1
    }


def _name(name: str, titles: Titles) -> str:
    """As models call a tensor, with dots."""
    return titled(name, titles).replace("/", ".")


def tensor_gaps(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> list[TensorGap]:
    """Tensors that differ in any entry or stand alone."""
    left, right = dict(a), dict(b)
    found = []
    for name in [n for n in left if n in right and left[n].shape == right[n].shape]:
        found += _apart(name, name, left.pop(name), right.pop(name))
    for name, value in list(left.items()):  # renamed, possibly transposed
        twin = next((other for other, held in right.items() if _is_equal(value, held)), None)
        if twin is not None:
            del left[name], right[twin]
    for name, value in list(left.items()):
        close = [other for other, held in right.items() if held.shape == value.shape]
        if close:
            nearest = min(close, key=lambda other: float((right[other] - value).abs().mean()))
            found += _apart(name, nearest, value, right.pop(nearest))
            del left[name]
    found += [TensorGap(name, "", tuple(v.shape), None, v.numel()) for name, v in left.items()]
    found += [TensorGap("", name, tuple(v.shape), None, v.numel()) for name, v in right.items()]
    return found


def _is_equal(a: Tensor, b: Tensor) -> bool:
    if a.shape == b.shape:
        return torch.equal(a, b)
    return a.dim() == b.dim() == 2 and a.shape == b.mT.shape and torch.equal(a, b.mT)


def _apart(name: str, other: str, a: Tensor, b: Tensor) -> list[TensorGap]:
    distance = (a - b).abs()
    count = int((distance > 0).sum())
    return [TensorGap(name, other, tuple(a.shape), float(distance.max()), count)] if count else []
