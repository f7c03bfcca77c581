"""Radii that rest on the curvature of the network: what was known → its record → words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lipaudit.report.model import Curvature, Robustness
from lipaudit.report.number import Number
from lipaudit.report.wording import plural, printable

if TYPE_CHECKING:
    from lipaudit.certify.dataset import Certification

__all__ = ["curvature_record", "curvature_text"]


def curvature_record(run: Certification) -> Curvature | None:
    """What was known of the network's curvature, and which radii rest on it."""
    bent = run.bent
    if bent is None:
        return None
    activation = bent.net.activation
    return Curvature(
        layer=activation.name,
        activation=activation.op.name,
        units=math.prod(activation.shape),
        norm=Number.from_bound(bent.net.norm),
        largest=Number.from_bound(bent.largest),
        indices=tuple(run.indices[run.radii.bent].tolist()),
    )


def curvature_text(robustness: Robustness) -> str:
    """`961 of 1000 radii by curvature (softplus, 256 units)`; empty where no curvature is known."""
    known = robustness.curvature
    if known is None:
        return ""
    share = f"{len(known.indices)} of {plural(robustness.clean_accuracy.n, 'radius', 'radii')}"
    return f"{share} by curvature ({printable(known.activation)}, {plural(known.units, 'unit')})"
