"""Every ONNX operator we convert ourselves: operator name → rule. What is absent is onnx2torch's."""

from __future__ import annotations

from lipaudit.load.converters import Rule
from lipaudit.load.rules import (
    fourier,
    linear,
    normalization,
    pointwise,
    pool,
    reduction,
    resize,
    selection,
    shape,
)

__all__ = ["RULES"]


def _merge(*tables: dict[str, Rule]) -> dict[str, Rule]:
    merged: dict[str, Rule] = {}
    for table in tables:
        twice = set(table) & set(merged)
        if twice:
            msg = f"two rules for {sorted(twice)}"
            raise ValueError(msg)
        merged.update(table)
    return merged


RULES = _merge(
    fourier.RULES,
    linear.RULES,
    normalization.RULES,
    pointwise.RULES,
    pool.RULES,
    reduction.RULES,
    resize.RULES,
    selection.RULES,
    shape.RULES,
)
