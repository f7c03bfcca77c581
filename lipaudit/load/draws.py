"""Random operands for one node: several scales, ties, exact integers and halves.

Kinds that lie far out let an operator overflow; kinds that are exact have no rounding to excuse a difference.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

__all__ = ["EXACT", "FAR", "STEPS", "draw", "kinds_for", "moved"]

_Array = np.ndarray[Any, Any]

_SCALES = {"normal": 1.0, "small": 0.5, "thirtyfold": 30.0, "thousandfold": 1000.0}
_KINDS = (
    "normal",
    "uniform",
    "integer",
    "half-integer",
    "small",
    "thirtyfold",
    "large positive",
    "thousandfold",
)
_LINEAR = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_DIVIDES = frozenset({"Div", "Mod"})

FAR = frozenset({"thirtyfold", "large positive", "thousandfold"})
EXACT = frozenset({"integer", "half-integer"})
STEPS = frozenset({"normal", "uniform"})
"""Kinds without ties, on which results that are no floats are compared."""

_LARGE = 1 << 18
_LAST_BITS = 2.0**-22


def kinds_for(op: str, size: int) -> tuple[str, ...]:
    """Kinds of operands to try.

    Two maps that are affine in each operand and agree in one random point are the same; entries of a large
    tensor are many draws in themselves.

    Args:
        op: operator.
        size: how many numbers depend on the input.
    """
    large = size > _LARGE
    if op in _LINEAR:
        return ("normal",) if large else ("normal", "thousandfold")
    return ("normal", "integer", "thousandfold") if large else _KINDS


def draw(random: np.random.Generator, kind: str, shape: tuple[int, ...], dtype: Any, op: str) -> _Array:  # noqa: ANN401 - a numpy dtype
    """One operand.

    Args:
        random: where from.
        kind: one of `kinds_for`.
        shape: of the operand.
        dtype: its numpy type.
        op: integer divisors are kept from zero, which would kill the process.
    """
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return np.asarray(random.random(shape) < 0.5)
    precision: Any = np.float64 if dtype == np.float64 else np.float32
    if kind == "uniform":
        value = random.random(shape, dtype=precision)
    elif kind == "large positive":
        value = 1.0 + 1000.0 * random.random(shape, dtype=precision)
    elif kind == "integer":
        value = np.rint(3.0 * random.standard_normal(shape, dtype=precision))
    elif kind == "half-integer":
        value = np.floor(3.0 * random.standard_normal(shape, dtype=precision)) + 0.5
    else:
        value = _SCALES[kind] * random.standard_normal(shape, dtype=precision)
    if dtype.kind in "iu":
        value = np.rint(np.clip(value, -100.0, 100.0))
        value = np.abs(value) if dtype.kind == "u" else value
        value = np.where(value == 0, 1, value) if op in _DIVIDES else value
    return np.asarray(value).astype(dtype, copy=False)


def moved(value: _Array) -> _Array:
    """The same operand with its last bits changed; integers stay."""
    if value.dtype.kind != "f":
        return value
    signs = np.random.default_rng(1).choice([-1.0, 1.0], size=value.shape)
    step = max(_LAST_BITS, 2.0 * float(torch.finfo(torch.float16).eps) if value.dtype == np.float16 else 0.0)
    return np.asarray(value * (1.0 + step * signs)).astype(value.dtype)
