"""What layers and parts say against themselves: no bound, amplification, a constant that misses 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lipaudit.report.model import Block, Finding
from lipaudit.report.remedies import PREPROCESSING, has_weights
from lipaudit.report.wording import bound_text, printable, shown_down

if TYPE_CHECKING:
    from lipaudit.analyze import Layer as Analysed

__all__ = ["layer_findings"]

_ROUNDED, _NEARLY = 1 + 1e-5, 2.0
"""What roundings of weights and proofs leave above 1, and what a normalisation that is a little off does."""
_AMPLIFIES = (
    "a layer that is meant to be 1-Lipschitz is to be normalised by its true norm, not by a reshaped or "
    "estimated one"
)
_ORDINARY = (
    "nothing keeps this small, as is usual after ordinary training: train for small gains (spectral "
    "normalisation, orthogonal or other 1-Lipschitz layers), or allow more"
)
_STATED = "this is the preprocessing (scale/std), no layer: --threat-space input measures behind it"


def layer_findings(layers: Sequence[Analysed], blocks: Sequence[Block]) -> tuple[Finding, ...]:
    """Ops without a bound, layers that provably amplify and blocks that may.

    Layers inside of blocks amplify by design: what counts is the block.
    """
    found = []
    inside = {name for block in blocks for name in block.layers}
    for layer in layers:
        name, origin = layer.node.name, layer.node.origin.location
        place = f" ({origin})" if origin else ""
        if not layer.upper.is_finite:
            found.append(
                Finding(
                    rule="LIP101",
                    level="error",
                    message=f"{layer.node.op.name}{place} has no bound: {layer.upper.note}",
                    layer=name,
                    advice="replace the operation by one with a bounded slope, or bound its input before it",
                )
            )
        elif name not in inside and layer.lower is not None and layer.lower.value > 1:
            found.append(
                Finding(
                    rule="LIP201",
                    level="warning",
                    message=f"{layer.node.op.name}{place} amplifies: a witness exceeds 1 and reaches "
                    f"{shown_down(layer.lower.value)}",
                    layer=name,
                    advice=_on_amplifying(layer.node.op.name, layer.lower.value),
                )
            )
    return (*found, *(_excess(block) for block in blocks if _exceeds(block)))


def _on_amplifying(op: str, witnessed: float) -> str:
    if op == PREPROCESSING:
        return _STATED
    if not has_weights(op):
        return ""
    return _AMPLIFIES if witnessed <= _NEARLY else _ORDINARY


def _exceeds(block: Block) -> bool:
    return block.upper.value is None or block.upper.value > 1


def _excess(block: Block) -> Finding:
    """A block that is not proved to be 1-Lipschitz."""
    return Finding(
        rule="LIP203",
        level="warning",
        message=f"the part from {printable(block.source)} to here is not proved to be 1-Lipschitz, only "
        f"≤ {bound_text(block.upper)} ({printable(block.rule)})",
        layer=block.end,
        advice=_on_excess(block.upper.value),
    )


def _on_excess(upper: float | None) -> str:
    if upper is None or upper > _NEARLY:
        return _ORDINARY
    if upper <= _ROUNDED:
        return (
            "this little is the rounding of weights, or of the proof itself, which rounds upward: allow it "
            "in the limit (1.00001, say)"
        )
    return (
        "of a part that is meant to be 1-Lipschitz: a wrong normalisation, image size or number of terms, or "
        "a scale that the next layer takes back"
    )
