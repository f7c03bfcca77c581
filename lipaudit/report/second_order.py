"""Which radii rest on the curvature of the network, in words."""

from __future__ import annotations

from lipaudit.report.model import Robustness
from lipaudit.report.wording import plural, printable

__all__ = ["curvature_text"]


def curvature_text(robustness: Robustness) -> str:
    """`961 of 1000 radii by curvature (softplus, 256 units)`; empty where no curvature is known."""
    known = robustness.curvature
    if known is None:
        return ""
    share = f"{len(known.indices)} of {plural(robustness.clean_accuracy.n, 'radius', 'radii')}"
    return f"{share} by curvature ({printable(known.activation)}, {plural(known.units, 'unit')})"
